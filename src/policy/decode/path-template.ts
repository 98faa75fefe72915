/** Istio's path templates (AZ-9): `{*}` one segment, `{**}` zero or more. */
import type { TemplateSegment, ValueMatch } from "../pattern.ts";
import { parseStringMatch } from "../pattern.ts";
import { type Decoder, text, wrong } from "./reader.ts";
import { quote } from "./report.ts";

/** RFC 3986 pchar without `*`: what Envoy's `uri_template` takes between slashes. */
const LITERAL = /^[a-zA-Z0-9\-._~%!$&'()+,;:@=]+$/;
const HELP = "between slashes stands plain text, `{*}` for one segment, or once, as the last operator, `{**}` for zero or more";

function parseSegment(segment: string, isLast: boolean): TemplateSegment | undefined {
  if (segment === "{*}") return { kind: "one" };
  if (segment === "{**}") return { kind: "rest" };
  // A slash at the end: `/files/{**}/` is in Istio's own examples.
  if (LITERAL.test(segment) || (segment === "" && isLast)) return { kind: "literal", value: segment };
  return undefined;
}

/** The segments of a template, or why it is none. */
export function parsePathTemplate(path: string): readonly TemplateSegment[] | string {
  if (!path.startsWith("/")) return "does not begin with `/`";
  const texts = path.slice(1).split("/");
  const segments: TemplateSegment[] = [];
  for (const [index, segment] of texts.entries()) {
    const parsed = parseSegment(segment, index === texts.length - 1);
    if (parsed === undefined) return `has a segment that a template cannot have: ${quote(segment)}`;
    if (parsed.kind !== "literal" && segments.some(({ kind }) => kind === "rest")) return "has another operator after `{**}`";
    segments.push(parsed);
  }
  return segments;
}

/** A path: a template if it has `{*}` or `{**}`, otherwise a string with `*` at one end. Braces have no other use. */
export const pathValue: Decoder<ValueMatch> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  if (!/[{}]/.test(value)) return parseStringMatch(value);
  const segments = parsePathTemplate(value);
  if (typeof segments === "string") return wrong(cursor, "GAR0007", `is not a path template: ${quote(value)} ${segments}`, HELP);
  if (segments.every(({ kind }) => kind === "literal"))
    return wrong(cursor, "GAR0007", `is not a path template: ${quote(value)} has braces`, HELP);
  return { kind: "template", text: value, segments };
};
