/**
 * How a value is matched. Strings from YAML become one of these once, in decoding; no later stage sees a raw pattern,
 * so nothing is escaped twice or not at all.
 */
import type { IpBlock } from "./ip-block.ts";

export type StringMatch =
  | { readonly kind: "exact"; readonly value: string }
  | { readonly kind: "prefix"; readonly value: string }
  | { readonly kind: "suffix"; readonly value: string }
  /** `*`: present and not empty. */
  | { readonly kind: "present" };

/** A segment of a path template: a literal, `{*}` for one segment, `{**}` for zero or more (Istio AZ-9). */
export type TemplateSegment = { readonly kind: "literal"; readonly value: string } | { readonly kind: "one" } | { readonly kind: "rest" };

export type ValueMatch =
  | StringMatch
  | { readonly kind: "template"; readonly text: string; readonly segments: readonly TemplateSegment[] }
  | { readonly kind: "ip"; readonly block: IpBlock }
  | { readonly kind: "port"; readonly port: number }
  /** A service account with its namespace. */
  | { readonly kind: "service-account"; readonly namespace: string; readonly name: string };

/** Istio's value grammar: `*` presence, `*suf` suffix, `pre*` prefix, else exact. A `*` elsewhere is a plain character. */
export function parseStringMatch(text: string): StringMatch {
  if (text === "*") return { kind: "present" };
  if (text.startsWith("*")) return { kind: "suffix", value: text.slice(1) };
  if (text.endsWith("*")) return { kind: "prefix", value: text.slice(0, -1) };
  return { kind: "exact", value: text };
}

/** The value as a user would write it. */
export function formatValueMatch(match: ValueMatch): string {
  switch (match.kind) {
    case "exact":
      return match.value;
    case "prefix":
      return `${match.value}*`;
    case "suffix":
      return `*${match.value}`;
    case "present":
      return "*";
    case "template":
      return match.text;
    case "ip":
      return match.block.text;
    case "port":
      return String(match.port);
    case "service-account":
      return `${match.namespace}/${match.name}`;
  }
}
