/**
 * The texts that random policies and requests are made of: few and alike, so that values and requests often meet, and just
 * as often miss by one character, one bit or one slash.
 */
import fc, { type Arbitrary } from "fast-check";

export const one = <T>(...items: readonly T[]): Arbitrary<T> => fc.constantFrom(...items);

/** Parts joined, at most so many. */
function joined(parts: Arbitrary<string>, maxLength: number): Arbitrary<string> {
  return fc.array(parts, { minLength: 1, maxLength }).map((texts) => texts.join(""));
}

export const NAMESPACES = one("a", "ab", "a.b", "b", "shop");
export const ACCOUNTS = one("x", "xy", "x.y", "a");
/** What a mesh may have for aliases of `cluster.local`. */
export const ALIASES = ["old.example", "old"];
const TRUST_DOMAINS = fc.oneof({ weight: 5, arbitrary: one("cluster.local") }, { weight: 1, arbitrary: one(...ALIASES, "other") });
export const PRINCIPALS = fc
  .tuple(TRUST_DOMAINS, NAMESPACES, ACCOUNTS)
  .map(([trustDomain, namespace, account]) => `${trustDomain}/ns/${namespace}/sa/${account}`);
export const HOSTS = one("a.b", "A.B", "a.b:80", "ab", "x.a.b", "a.b.", "web", "a+b", "[::1]");
/** HTTP/1.1 takes no others. */
export const KNOWN_METHODS = ["GET", "PUT", "HEAD", "POST", "PATCH", "OPTIONS", "PROPFIND"] as const;
export const METHODS = fc.oneof(one(...KNOWN_METHODS), one("get", "GETS", "G", "P.T", "X-Y"));
export const HEADER_NAMES = one("x-a", "x_a", "user-agent", "origin", "accept-language", "x-forwarded-for");
export const HEADER_VALUES = one("", "a", "ab", "b", "A", "a,b", "a, b", "a b", "é", "a.b", "(a)", "127.1.0.1");
export const SERVER_NAMES = one("a.b", "A.b", "x.a.b", "ab", "outbound_.80_._.a.b");
export const PORT_VALUES = one("28080", "28082", "29090", "0", "65535", "80");

// === Addresses ===

export const ADDRESSES = one(
  "127.0.0.1",
  "127.1.0.0",
  "127.1.0.1",
  "127.1.0.2",
  "127.1.0.3",
  "127.1.127.255",
  "127.1.255.255",
  "127.2.0.0",
);
/** What proxies in front, and anybody else, write into X-Forwarded-For. */
export const FORWARDED = fc
  .array(
    fc.oneof(
      { weight: 6, arbitrary: ADDRESSES },
      { weight: 1, arbitrary: one("", " ", "unknown", "2001:db8::1", "[::1]", "127.1.0.1:80", "127.1") },
    ),
    {
      minLength: 1,
      maxLength: 4,
    },
  )
  .chain((elements) => one(",", ", ", " ,\t").map((comma) => elements.join(comma).trim()));
const PREFIXES = one(0, 1, 8, 14, 15, 16, 17, 18, 23, 24, 29, 30, 31, 32);
export const BLOCKS = fc.oneof(
  { weight: 2, arbitrary: ADDRESSES },
  { weight: 4, arbitrary: fc.tuple(ADDRESSES, PREFIXES).map(([address, prefix]) => `${address}/${prefix}`) },
  { weight: 1, arbitrary: one("::/0", "::1", "::ffff:127.1.0.1", "::ffff:127.1.0.0/113", "2001:db8::/32") },
);

// === Paths ===

const CLEAN = one("/", "/a", "/b", "/ab", "/A", "a", "b", "//", ".", "-", "~", "/*", "[", "(", "%2F", "%61", "%7C", ";x=1");
const DIRTY = one("/", "/a", "/b", "/ab", "/A", "a", "//", "/.", "/..", "\\", "%2F", "%2f", "%5C", "%61", "%41", "%2e", "%2E%2e", ";x=1");
const ODD = one("?q=1", "#f", "|", "[", "*", "%", "%zz", "%25", "%00", "/..;x", "/.;", "{", "~", "%7e", "+", "$", "(", ")");

/** As policies name them. */
export const CLEAN_PATHS = joined(CLEAN, 4).map((text) => (text.startsWith("/") ? text : `/${text}`));
/** As clients send them. Nothing that Envoy refuses in HTTP/2 for its bytes: each costs a second until the connection is closed. */
export const SENT_PATHS = joined(fc.oneof({ weight: 5, arbitrary: DIRTY }, { weight: 1, arbitrary: ODD }), 6).map((text) =>
  text.startsWith("/") ? text : `/${text}`,
);
export const TEMPLATES = fc
  .tuple(fc.array(one("a", "b", "{*}", "A", "a.b"), { maxLength: 3 }), one("", "/{**}", "/{**}/a", "/{**}/"))
  .map(([segments, rest]) => (segments.length === 0 ? rest : `/${segments.join("/")}${rest}`))
  .filter((text) => text.includes("{"));

// === Values ===

/** A text as a value: whole, cut off for a prefix or suffix, or with a character that means something to expressions. */
export function patternOf(texts: Arbitrary<string>): Arbitrary<string> {
  const whole = texts.filter((text) => text !== "");
  const cut = fc.tuple(whole, fc.nat()).map(([text, at]) => [text.slice(0, at % text.length), text.slice(at % text.length)] as const);
  const odd = one(..."*.[]|()\\$^+?{}Aé");
  return fc.oneof(
    { weight: 4, arbitrary: whole },
    { weight: 3, arbitrary: cut.map(([before]) => `${before}*`) },
    { weight: 3, arbitrary: cut.map(([, after]) => `*${after}`) },
    { weight: 1, arbitrary: one("*", "**", ".*", "*.*") },
    { weight: 2, arbitrary: fc.tuple(cut, odd).map(([[before, after], character]) => before + character + after.slice(1)) },
    { weight: 1, arbitrary: whole.map((text) => text.toUpperCase()) },
  );
}
