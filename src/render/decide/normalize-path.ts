/**
 * A request's path as Envoy sees it under each of Istio's modes (AZ-10), so that both engines decide on the same text and
 * applications receive the same text. Held equal to a real Envoy 1.40 by `test/envoy/normalize-path.test.ts`.
 */
import type { PathNormalization } from "../../policy/mesh-config.ts";

/** `path` is what policies match; `query` is empty or begins with `?`. Their concatenation is what is forwarded. */
export interface NormalizedPath {
  readonly path: string;
  readonly query: string;
}

/** Nothing in it is ever rewritten: no dot, percent sign, backslash, query, fragment or character to be escaped. */
const PLAIN = /^\/[A-Za-z0-9\-_~!$&'()*+,;=:@/[\]]*$/;
/** What an HTTP parser may hand over; everything else (controls, space, bytes above 0x7e) is refused. */
const PRINTABLE = /^[\x21-\x7e]*$/;
/** A literal dot segment with path parameters, `/..;x=1`: servers that drop parameters would walk up (CVE-2026-73551). */
const DOT_SEGMENT_PARAMETERS = /(\/\.\.?);[^/]*/g;
/** RFC 3986 §2.3 unreserved characters, which are the same whether escaped or not. */
const UNRESERVED = /^[A-Za-z0-9\-._~]$/;
const ESCAPED_ON_SIGHT = /^["<>^`{|}]$/;
const ESCAPE = /^%[0-9A-Fa-f]{2}$/;

/**
 * Decoding must not make an escape out of a stray percent sign: `%4%41` is `%254A`, never `%4A`. `written` ends with a
 * character that was just decoded; `next` is the raw character that follows it.
 */
function guardStrayPercent(written: string[], next: string): void {
  const [third = "", second = "", last = ""] = [written.at(-3), written.at(-2), written.at(-1)];
  if (ESCAPE.test(second + last + next)) written.splice(-1, 0, "2", "5");
  else if (ESCAPE.test(third + second + last)) written.splice(-2, 0, "2", "5");
}

/** Backslashes become slashes, unreserved characters are decoded, the characters that Envoy escapes are escaped. */
function rewriteCharacters(path: string): string {
  // One by one: whoever looks at the end of a text that is still being made copies all of it each time.
  const written: string[] = [];
  let strayPercent = -3;
  for (let index = 0; index < path.length; index++) {
    const char = path.charAt(index);
    const triplet = path.slice(index, index + 3);
    if (char === "\\") written.push("/");
    else if (ESCAPED_ON_SIGHT.test(char)) written.push("%", ...char.charCodeAt(0).toString(16).toUpperCase());
    else if (char !== "%") written.push(char);
    else if (!ESCAPE.test(triplet)) {
      strayPercent = written.length;
      written.push(char);
    } else {
      index += 2;
      const decoded = String.fromCharCode(Number.parseInt(triplet.slice(1), 16));
      if (!UNRESERVED.test(decoded)) written.push(...triplet);
      else {
        written.push(decoded);
        if (strayPercent >= written.length - 3) guardStrayPercent(written, path.charAt(index + 1));
      }
    }
  }
  return written.join("");
}

/** RFC 3986 §5.2.4, on a path that begins with a slash. */
function removeDotSegments(path: string): string {
  const kept: string[] = [];
  const segments = path.split("/");
  for (let index = 1; index < segments.length; index++) {
    const segment = segments[index] ?? "";
    if (segment !== "." && segment !== "..") {
      kept.push(segment);
      continue;
    }
    if (segment === "..") kept.pop();
    if (index === segments.length - 1) kept.push("");
  }
  return `/${kept.join("/")}`;
}

/** Slashes that are escaped, of both kinds (Envoy's UNESCAPE_AND_FORWARD). */
function unescapeSlashes(path: string): string {
  return path.replace(/%2f/gi, "/").replace(/%5c/gi, "\\");
}

/** Runs of slashes become one; of a path of nothing else two are left, as its beginning and its end. */
function mergeSlashes(path: string): string {
  if (!path.includes("//")) return path;
  const inner = path.split("/").filter((segment) => segment !== "");
  return `/${inner.join("/")}${path.endsWith("/") ? "/" : ""}`;
}

/** Envoy's `normalize_path`; undefined for a path that it refuses. */
function canonicalize(path: string): string | undefined {
  if (PLAIN.test(path)) return path;
  const literal = path.replace(DOT_SEGMENT_PARAMETERS, "$1");
  return literal.includes("%00") ? undefined : removeDotSegments(rewriteCharacters(literal));
}

/** Each mode does what the one before it does, and more, in this order. */
function normalize(path: string, mode: PathNormalization): string | undefined {
  if (mode === "NONE") return path;
  const canonical = canonicalize(mode === "DECODE_AND_MERGE_SLASHES" ? unescapeSlashes(path) : path);
  return canonical === undefined || mode === "BASE" ? canonical : mergeSlashes(canonical);
}

/**
 * The normalized path and the query of a request target in origin form; the fragment is dropped. Undefined where the
 * target is to be refused with 400: it does not begin with a slash, holds a byte outside printable ASCII, or, where it
 * is normalized at all, `%00`.
 */
export function normalizePath(target: string, mode: PathNormalization = "BASE"): NormalizedPath | undefined {
  if (target.charCodeAt(0) !== 0x2f || !PRINTABLE.test(target)) return undefined;
  const hash = target.indexOf("#");
  const visible = hash < 0 ? target : target.slice(0, hash);
  const mark = visible.indexOf("?");
  const raw = mark < 0 ? visible : visible.slice(0, mark);
  const path = normalize(raw, mode);
  return path === undefined ? undefined : { path, query: mark < 0 ? "" : visible.slice(mark) };
}
