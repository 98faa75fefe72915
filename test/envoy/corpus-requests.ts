/** Random requests, as test cases have them: half of what they say is taken from the policies that will decide them. */
import fc, { type Arbitrary } from "fast-check";
import { parseIpBlock } from "../../src/policy/ip-block.ts";
import type { Plain } from "./corpus-policies.ts";
import {
  ADDRESSES,
  CLEAN_PATHS,
  FORWARDED,
  HEADER_NAMES,
  HEADER_VALUES,
  HOSTS,
  KNOWN_METHODS,
  METHODS,
  one,
  PRINCIPALS,
  SENT_PATHS,
  SERVER_NAMES,
} from "./corpus-words.ts";

export const PORTS = { http: 28_080, http2: 28_082, tcp: 29_090 } as const;

// === What policies speak of ===

/** The values of a field, or of conditions on a key; stars that stand for anything are gone. */
function valuesOf(policies: readonly Plain[], pattern: RegExp): readonly string[] {
  const found: string[] = [];
  const visit = (node: unknown, key: string): void => {
    if (typeof node === "string") found.push(...(pattern.test(key) ? [node.replace(/^\*|\*$/g, "")] : []));
    else if (Array.isArray(node)) for (const item of node) visit(item, key);
    else if (typeof node === "object" && node !== null) {
      const condition = "key" in node ? String(node.key) : undefined;
      for (const [name, child] of Object.entries(node)) if (name !== "key") visit(child, condition ?? name);
    }
  };
  for (const policy of policies) visit(policy, "");
  return found.filter((text) => text !== "");
}

/** A text of the policies, or none of their affair. */
function related(texts: readonly string[], otherwise: Arbitrary<string>, near: (text: string) => Arbitrary<string>): Arbitrary<string> {
  return texts.length === 0 ? otherwise : fc.oneof(otherwise, one(...texts).chain(near));
}

/** The text itself, and what differs from it by little. */
function nearTo(text: string): Arbitrary<string> {
  return one(text, text, text, `${text}x`, `x${text}`, text.toUpperCase(), text.slice(1), text.slice(0, -1));
}

// === Fields ===

function escapeLetter(path: string): string {
  return path.replace(/[a-z.]/i, (letter) => `%${letter.charCodeAt(0).toString(16)}`);
}

/** The path as policies have it, and ways to write it that normalization undoes, or does not. */
function nearPath(value: string): Arbitrary<string> {
  return one("[a]", "[a]", "a", "").chain((segment) => {
    const path = value.replaceAll("{**}", `a/${segment}`).replaceAll("{*}", segment);
    const whole = path.startsWith("/") ? path : `/x${path}`;
    const undone = ["/x/..", "/.", "/x/..;y=1", "/.;y", "/x\\.."].map((before) => before + whole);
    const kept = [
      `${whole}/`,
      `/${whole}`,
      `${whole};x=1`,
      `${whole}b`,
      `${whole}?q`,
      `${whole}#f`,
      whole.slice(0, -1),
      whole.toUpperCase(),
    ];
    const within = [escapeLetter(whole), whole.replace(/(.)\//, "$1\\"), whole.replace(/(.)\//, "$1%2F"), whole.replaceAll("/", "//")];
    return one(whole, whole, whole, ...undone, ...kept, ...within);
  });
}

/** The ends of a block and what lies beyond, as far as a client can be there. */
function nearBlock(text: string): readonly string[] {
  const { family, bytes, prefix } = parseIpBlock(text);
  if (family !== 4 || bytes[0] !== 127 || prefix < 9) return [];
  const size = 2 ** (32 - prefix);
  const number = bytes.reduce((sum, byte) => sum * 256 + byte, 0);
  const first = number - (number % size);
  const edges = [first - 1, first, number, first + size - 1, first + size].map((edge) =>
    [24, 16, 8, 0].map((bits) => (edge >>> bits) & 255),
  );
  return edges.filter(([head, ...rest]) => head === 127 && rest.some((byte) => byte < 255)).map((parts) => parts.join("."));
}

function headersLike(policies: readonly Plain[]): Arbitrary<Plain> {
  const named = HEADER_NAMES.chain((name) => {
    const otherwise = name === "x-forwarded-for" ? FORWARDED : HEADER_VALUES;
    const value = related(valuesOf(policies, new RegExp(`^request\\.headers\\[${name}\\]$`, "i")), otherwise, nearTo);
    const clean = value.map((text) => text.trim());
    const lines = fc.oneof(
      clean,
      fc.array(clean, { minLength: 1, maxLength: 3 }),
      clean.map((text) => text.split(",").map((part) => part.trim())),
    );
    return lines.map((content) => [name, content] as const);
  });
  return fc.array(named, { maxLength: 4 }).map(Object.fromEntries);
}

// === Requests ===

const AUTHORITY = /^[A-Za-z0-9\-._~!$&'()*+,;=%:[\]]+$/;
const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const IDENTITY = /^(cluster\.local|old|old\.example|other)\/ns\/[a-z]([a-z.]*[a-z])?\/sa\/[a-z]([a-z.]*[a-z])?$/;

function maybe<T>(arbitrary: Arbitrary<T>): Arbitrary<T | undefined> {
  return fc.option(arbitrary, { nil: undefined, freq: 3 });
}

/** HTTP/1.1 takes few methods; plaintext has no server name; TCP has no request. */
export function requestLike(policies: readonly Plain[]): Arbitrary<Plain> {
  const identities = valuesOf(policies, /rincipals?$/).filter((text) => IDENTITY.test(text));
  const peer = related(identities, PRINCIPALS, (text) => fc.constant(text)).map((principal) => `spiffe://${principal}`);
  const drawn = fc.record({
    from: fc.oneof({ weight: 1, arbitrary: one("plaintext") }, { weight: 3, arbitrary: peer }),
    protocol: one<keyof typeof PORTS>("http", "http", "http2", "tcp"),
    sourceIp: maybe(related(valuesOf(policies, /(IpBlocks|ipBlocks|\.ip)$/).flatMap(nearBlock), ADDRESSES, (text) => fc.constant(text))),
    sni: maybe(related(valuesOf(policies, /^connection\.sni$/), SERVER_NAMES, nearTo).filter((text) => /^[!-~]+$/.test(text))),
    method: maybe(related(valuesOf(policies, /ethods$/), METHODS, nearTo).filter((text) => METHOD.test(text))),
    path: maybe(
      related(valuesOf(policies, /aths$/), fc.oneof(SENT_PATHS, CLEAN_PATHS), nearPath).filter((text) => /^\/[!-~]*$/.test(text)),
    ),
    host: maybe(related(valuesOf(policies, /(osts|\[Host\])$/), HOSTS, nearTo).filter((text) => AUTHORITY.test(text))),
    headers: maybe(headersLike(policies)),
  });
  return drawn.map(({ from, protocol, sourceIp, sni, method, ...rest }) => {
    const connection = { from, port: PORTS[protocol], sourceIp, sni: from === "plaintext" ? undefined : sni };
    // Over HTTP/1.1 the others are refused whatever the policies say: few are enough.
    const known = KNOWN_METHODS.find((name) => name === method) ?? (rest.headers === undefined ? method : undefined);
    const http = { method: protocol === "http2" ? method : known, ...rest };
    const fields = Object.entries(protocol === "tcp" ? connection : { ...connection, ...http });
    return Object.fromEntries(fields.filter(([, value]) => value !== undefined));
  });
}
