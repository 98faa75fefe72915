/**
 * Values as Envoy matches them. Everything that stands in a regular expression passes through `quoteRegex` here: no
 * other file writes one from a user's text (CVE-2026-39350 and CVE-2020-16844 were such texts, unquoted).
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { StringMatcherSchema } from "../../gen/envoy/type/matcher/v3/string_pb.js";
import type { StringMatch, TemplateSegment } from "../../policy/pattern.ts";

export type StringMatcherInit = MessageInitShape<typeof StringMatcherSchema>;

/** A text as an RE2 expression that matches just that text. */
export function quoteRegex(literal: string): string {
  return literal.replace(/[\\.+*?()|[\]{}^$]/g, "\\$&");
}

/** A matcher for the whole value by an RE2 expression. */
export function regexMatcher(regex: string): StringMatcherInit {
  return { matchPattern: { case: "safeRegex", value: { regex } } };
}

/** Bytes of any kind: `.` takes only those that are UTF-8, and with others a DENY could be passed by (CVE-2026-73552). */
export const ANYTHING = "\\C*";
const NOT_EMPTY = "\\C+";

/** Envoy's matcher of a value: a comparison of bytes wherever one says it, a regular expression only for presence. */
export function stringMatcher(match: StringMatch, ignoreCase = false): StringMatcherInit {
  switch (match.kind) {
    case "exact":
    case "prefix":
    case "suffix":
      return { matchPattern: { case: match.kind, value: match.value }, ignoreCase };
    case "present":
      return regexMatcher(NOT_EMPTY);
  }
}

const SPACES = "[ \\t]*";

/**
 * The matcher of a header's value, around which spaces are no part of it (RFC 9110 §5.5). In HTTP/1.1 Envoy takes them away when it reads
 * them; from HTTP/2 it passes them on, to an application that does not see them.
 */
export function headerMatcher(match: StringMatch): StringMatcherInit {
  switch (match.kind) {
    case "exact":
      return regexMatcher(SPACES + quoteRegex(match.value) + SPACES);
    case "prefix":
      return regexMatcher(SPACES + quoteRegex(match.value) + ANYTHING);
    case "suffix":
      return regexMatcher(ANYTHING + quoteRegex(match.value) + SPACES);
    case "present":
      return stringMatcher(match);
  }
}

/** What a value contributes to a longer expression, where `any` is the class of characters that a wildcard may stand for. */
export function regexPart(match: StringMatch, any: string): string {
  switch (match.kind) {
    case "exact":
      return quoteRegex(match.value);
    case "prefix":
      return `${quoteRegex(match.value)}${any}*`;
    case "suffix":
      return `${any}*${quoteRegex(match.value)}`;
    case "present":
      return `${any}+`;
  }
}

const SEGMENT_REGEX = { one: "[^/]+", rest: ANYTHING } as const;

/** A path template (Istio AZ-9) as an expression; written here rather than left to Envoy's `uri_template`, which knows only some characters. */
export function templateRegex(segments: readonly TemplateSegment[]): string {
  return segments.map((segment) => `/${segment.kind === "literal" ? quoteRegex(segment.value) : SEGMENT_REGEX[segment.kind]}`).join("");
}
