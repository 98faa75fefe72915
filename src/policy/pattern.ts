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

/** Whether a path or a host matches a value; with `fold`, without regard to the case of ASCII letters. For checks, not for decisions. */
export function pathOrHostMatches(match: ValueMatch, text: string, fold = false): boolean {
  const folded = (value: string): string => (fold ? value.toLowerCase() : value);
  switch (match.kind) {
    case "exact":
      return folded(text) === folded(match.value);
    case "prefix":
      return folded(text).startsWith(folded(match.value));
    case "suffix":
      return folded(text).endsWith(folded(match.value));
    case "present":
      return text !== "";
    case "template":
      return templateMatches(match.segments, text.split("/").slice(1));
    default:
      return false;
  }
}

/** Segment by segment; `{**}` takes any number of them. */
function templateMatches(segments: readonly TemplateSegment[], parts: readonly string[]): boolean {
  const [segment, ...others] = segments;
  const [part, ...rest] = parts;
  if (segment === undefined) return parts.length === 0;
  if (part === undefined) return false;
  if (segment.kind === "rest") return templateMatches(others, parts.slice(1)) || templateMatches(segments, rest);
  return (segment.kind === "literal" ? part === segment.value : part !== "") && templateMatches(others, rest);
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
