/** Where tokens stand in a request (JW-3), found as Envoy 1.40 finds them. */

import { JOINED_HEADERS, joinLines } from "../../../policy/joined-headers.ts";
import type { JwtLocations } from "../../../policy/model.ts";
import type { NormalizedPath } from "../normalize-path.ts";

/** Name, value, name, value, in the order of the wire; names in lower case, values with a character for each byte. */
export type HeaderLines = readonly string[];

/** What of a request tokens can stand in, and what is changed when they are verified. */
export interface TokenHead {
  readonly method: string;
  readonly path: NormalizedPath;
  readonly headers: HeaderLines;
}

/** The values of a header, whose name is in lower case. */
export function headerValues(headers: HeaderLines, name: string): readonly string[] {
  const values: string[] = [];
  for (let index = 0; index < headers.length; index += 2) if (headers[index] === name) values.push(headers[index + 1] ?? "");
  return values;
}

export interface FoundToken {
  readonly text: string;
  readonly place: { readonly kind: "header" | "param" | "cookie"; readonly name: string };
}

/** What a token may begin with; whatever stands between a prefix and that is skipped. */
const TOKEN_START = /[A-Za-z0-9._-]/;

function linesOf(headers: HeaderLines, name: string): readonly string[] {
  const lines = headerValues(headers, name);
  return JOINED_HEADERS.has(name) && lines.length > 1 ? [joinLines(lines)] : lines;
}

/** The text after the prefix, wherever that stands; undefined where it does not, and then there is no token. */
function afterPrefix(line: string, prefix: string): string | undefined {
  const at = line.indexOf(prefix);
  if (at < 0) return undefined;
  if (prefix === "") return line;
  const rest = line.slice(at + prefix.length);
  const start = rest.search(TOKEN_START);
  return start < 0 ? line : rest.slice(start);
}

function inHeaders(rule: JwtLocations, { headers }: TokenHead): readonly FoundToken[] {
  const locations = rule.fromHeaders.map((location) => ({ ...location, order: location.name + location.prefix }));
  locations.sort((left, right) => (left.order < right.order ? -1 : 1));
  return locations.flatMap(({ name, prefix }) =>
    linesOf(headers, name).flatMap((line): FoundToken[] => {
      const text = afterPrefix(line, prefix);
      return text === undefined ? [] : [{ text, place: { kind: "header", name } }];
    }),
  );
}

/** `%41` as its byte, in the bytes-as-characters form that heads have; what is no escape stays. */
function percentDecode(text: string): string {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** The pairs of a query, as they are written. */
function pairsOf(query: string): readonly { readonly pair: string; readonly name: string; readonly value: string }[] {
  if (!query.startsWith("?")) return [];
  return query
    .slice(1)
    .split("&")
    .map((pair) => {
      const equals = pair.indexOf("=");
      const [name, value] = equals < 0 ? [pair, ""] : [pair.slice(0, equals), pair.slice(equals + 1)];
      return { pair, name: percentDecode(name), value: percentDecode(value) };
    });
}

/** Of a parameter that comes several times, the first. */
function inParams(rule: JwtLocations, { path }: TokenHead): readonly FoundToken[] {
  if (rule.fromParams.length === 0 || path.query === "") return [];
  const pairs = pairsOf(path.query);
  return [...new Set(rule.fromParams)].sort().flatMap((name): FoundToken[] => {
    const found = pairs.find((pair) => pair.name === name);
    return found === undefined ? [] : [{ text: found.value, place: { kind: "param", name } }];
  });
}

/** RFC 6265 §4.2.1; of a cookie that comes several times, the first. */
function inCookies(rule: JwtLocations, { headers }: TokenHead): readonly FoundToken[] {
  if (rule.fromCookies.length === 0) return [];
  const cookies = headerValues(headers, "cookie").flatMap((line) => line.split(";"));
  return [...new Set(rule.fromCookies)].sort().flatMap((name): FoundToken[] => {
    const found = cookies.map((cookie) => cookie.trim()).find((cookie) => cookie.startsWith(`${name}=`));
    if (found === undefined) return [];
    const value = found.slice(name.length + 1);
    return [{ text: /^".*"$/.test(value) ? value.slice(1, -1) : value, place: { kind: "cookie", name } }];
  });
}

/** Every token that a rule finds, in the order in which Envoy verifies them: the payload of the last one is the requester's. */
export function findTokens(rule: JwtLocations, head: TokenHead): readonly FoundToken[] {
  return [...inHeaders(rule, head), ...inParams(rule, head), ...inCookies(rule, head)].reverse();
}

/** The header without any line of these names. */
export function withoutHeaders(headers: HeaderLines, names: ReadonlySet<string>): HeaderLines {
  return names.size === 0 ? headers : headers.filter((_, index) => !names.has(headers[index & ~1] ?? ""));
}

/** The query without a parameter; what remains is left as it was written. */
export function withoutParam(query: string, name: string): string {
  const kept = pairsOf(query).filter((pair) => pair.name !== name);
  return kept.length === 0 ? "" : `?${kept.map(({ pair }) => pair).join("&")}`;
}
