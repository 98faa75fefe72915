/** Tokens of a test's request: what they claim or what they are, and where they stand. */
import type { RawNode } from "../policy/decode/raw-node.ts";
import { type Cursor, type Decoder, type Fields, list, record, stringUpTo, text, wrong, wrongType } from "../policy/decode/reader.ts";
import { matching } from "../policy/decode/refine.ts";

/** What a token claims. Survives JSON. */
export type Claims = Readonly<Record<string, unknown>>;

export type TokenPlace =
  | { readonly kind: "header"; readonly name: string; readonly prefix: string }
  | { readonly kind: "param" | "cookie"; readonly name: string };

/** `claims`: its issuer has signed it, whoever that is. `raw`: it is what it is, and is verified. */
export type TestToken = { readonly place: TokenPlace } & (
  | { readonly kind: "claims"; readonly claims: Claims }
  | { readonly kind: "raw"; readonly text: string }
);

const MAX_TOKENS = 16;
const MAX_TOKEN_CHARACTERS = 32_768;
const MAX_DEPTH = 20;

const AUTHORIZATION = { kind: "header", name: "authorization", prefix: "Bearer " } as const satisfies TokenPlace;

// === Claims ===

/** A value of JSON; undefined where something in it has no one meaning. */
function json(cursor: Cursor, depth: number): unknown {
  const { node, path, report } = cursor;
  if (depth > MAX_DEPTH) return wrong(cursor, "GAR0009", `is nested deeper than ${MAX_DEPTH}`);
  if (node.kind === "unusable") return wrongType(cursor, "a value");
  if (node.kind === "scalar") return node.value;
  const child = (value: RawNode, name: string): unknown => json({ node: value, path: `${path}${name}`, report }, depth + 1);
  if (node.kind === "list") return node.items.map((item, index) => child(item, `[${index}]`));
  return Object.fromEntries(node.entries.map(({ key, value }) => [key, child(value, `.${key}`)]));
}

const claims: Decoder<Claims> = (cursor) =>
  cursor.node.kind === "map" ? (json(cursor, 0) as Claims) : wrongType(cursor, "a map of claims");

const raw: Decoder<string> = (cursor) => {
  const value = stringUpTo(MAX_TOKEN_CHARACTERS)(cursor);
  if (value === undefined || /^[\x21-\x7e]+$/.test(value)) return value;
  // Not quoted: a token is a secret.
  return wrong(cursor, "GAR0007", "is not a token", "write it as it stands after `Bearer `, without blanks");
};

// === Places ===

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}$/;

const name = matching((value) => TOKEN.test(value), "a name", "write the name of the header, parameter or cookie");

function placeOf(fields: Fields): TokenPlace | undefined {
  const [header, param, cookie] = [fields.optional("header", name), fields.optional("param", text), fields.optional("cookie", name)];
  const prefix = fields.optional("prefix", stringUpTo(256));
  const given = ["header", "param", "cookie"].filter((field) => fields.has(field));
  if (given.length > 1)
    return wrong(fields.cursor, "GAR0007", `has both \`${given[0]}\` and \`${given[1]}\``, "a token stands in one place");
  if (prefix !== undefined && header === undefined)
    return wrong(fields.cursor, "GAR0007", "has a `prefix` and no `header`", "a prefix stands before a token in a header");
  if (param !== undefined) return { kind: "param", name: param };
  if (cookie !== undefined) return { kind: "cookie", name: cookie };
  if (header === undefined) return AUTHORIZATION;
  const usual = header.toLowerCase() === "authorization" ? AUTHORIZATION.prefix : "";
  return { kind: "header", name: header.toLowerCase(), prefix: prefix ?? usual };
}

const FIELDS = ["jwt", "token", "header", "param", "cookie", "prefix"] as const;

/** The one token of a map, or undefined where it has none of these fields, or they are wrong. */
function readToken(fields: Fields): TestToken | undefined {
  const [claimed, given] = [fields.optional("jwt", claims), fields.optional("token", raw)];
  const place = placeOf(fields);
  if (fields.has("jwt") && fields.has("token"))
    return wrong(fields.cursor, "GAR0007", "has both `jwt` and `token`", "write `tokens: [{jwt: …}, {token: …}]` for several");
  const misplaced = FIELDS.slice(2).find((field) => fields.has(field));
  if (!fields.has("jwt") && !fields.has("token")) {
    if (misplaced === undefined) return undefined;
    return wrong(fields.cursor, "GAR0005", `has \`${misplaced}\` and no token`, "add `jwt` with claims, or `token` with a token");
  }
  if (place === undefined) return undefined;
  if (claimed !== undefined) return { place, kind: "claims", claims: claimed };
  return given === undefined ? undefined : { place, kind: "raw", text: given };
}

const oneOfSeveral: Decoder<TestToken> = record((fields) => {
  const token = readToken(fields);
  if (token !== undefined || FIELDS.some((field) => fields.has(field))) return token;
  return wrong(fields.cursor, "GAR0005", "names no token", "write `jwt` with claims, or `token` with a token");
});

const several = list(oneOfSeveral, { min: 1, max: MAX_TOKENS });

/** The tokens of a request: one by fields of its own, or several in a list. */
export function readTokens(fields: Fields): readonly TestToken[] {
  const own = readToken(fields);
  const listed = fields.optional("tokens", several) ?? [];
  if (own !== undefined && fields.has("tokens"))
    wrong(fields.cursor, "GAR0007", "has a token of its own and `tokens`", "write all into `tokens`");
  return own === undefined ? listed : [own];
}
