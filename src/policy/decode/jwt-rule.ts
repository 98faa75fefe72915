/** Istio `security.v1.JWTRule`: one issuer, its keys, where its tokens stand and what becomes of them (VA-5). */
import { AppError } from "../../core/error.ts";
import { readJwks } from "../jwks.ts";
import type { JwksSource, JwtRule } from "../model.ts";
import { duration } from "./duration.ts";
import { LIMITS } from "./limits.ts";
import { boolean, type Cursor, type Decoder, type Fields, list, record, stringUpTo, text, wrong } from "./reader.ts";
import { matching, oneOf } from "./refine.ts";
import { quote } from "./report.ts";

const texts = list(text, { max: LIMITS.jwtValues });

/** RFC 9110 §5.1. */
const headerName: Decoder<string> = (cursor) => {
  const name = matching(
    (value) => /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/.test(value),
    "a header's name",
    "write it as `x-jwt-payload`",
  )(cursor);
  return name?.toLowerCase();
};

/** What the proxies themselves say by a header, or frame messages with; a token's content must not stand there. */
const RESERVED = /^(?:host|content-length|transfer-encoding|connection|te|upgrade|expect|x-forwarded-.*|x-envoy-.*)$/;

const outputHeader: Decoder<string> = (cursor) => {
  const name = headerName(cursor);
  if (name === undefined || !RESERVED.test(name)) return name;
  return wrong(
    cursor,
    "GAR0007",
    `is a header that the proxy itself writes: ${quote(name)}`,
    "choose another one, such as `x-jwt-payload`",
  );
};

/** Visible ASCII and spaces: what may stand before a token in a header. */
const prefix: Decoder<string> = (cursor) => {
  const value = stringUpTo(256)(cursor);
  if (value === undefined || /^[\x20-\x7e]*$/.test(value)) return value;
  return wrong(cursor, "GAR0007", "has characters that no header may have");
};

const fromHeader = record((fields) => {
  const name = fields.required("name", headerName);
  const before = fields.optional("prefix", prefix) ?? "";
  return name === undefined ? undefined : { name, prefix: before };
});

const claimToHeader = record((fields) => {
  const header = fields.required("header", outputHeader);
  const claim = fields.required("claim", text);
  return header === undefined || claim === undefined ? undefined : { header, claim };
});

// === Keys ===

const DEFAULT_TIMEOUT_MS = 5_000;
const MAX_TIMEOUT_MS = 60_000;

const timeout = duration({ leastMs: 1, maxMs: MAX_TIMEOUT_MS, help: "write it as `5s` or `500ms`, from 1ms to 60s" });

/** An absolute URL of HTTP without user information or fragment. */
function isHttpUrl(value: string): boolean {
  return /^https?:\/\/[^\s/?#@\\]+(?:[/?][^\s#\\]*)?$/.test(value);
}

/** Not quoted where it is wrong: it may hold a password. */
const jwksUri: Decoder<string> = (cursor) => {
  const value = text(cursor);
  if (value === undefined || isHttpUrl(value)) return value;
  const help = "write it as `https://issuer.example.org/jwks.json`, without user name, password or fragment";
  return wrong(cursor, "GAR0007", "is not an address of HTTP or HTTPS", help);
};

/** Keys written out. The text itself never gets into a message. */
const inlineJwks: Decoder<JwksSource> = (cursor) => {
  const value = stringUpTo(LIMITS.jwks)(cursor);
  if (value === undefined) return undefined;
  try {
    const { keys, dropped } = readJwks(value);
    for (const why of dropped) warnOfKey(cursor, why);
    return { kind: "inline", keys };
  } catch (thrown) {
    if (!(thrown instanceof AppError)) throw thrown;
    return wrong(cursor, "GAR0007", `cannot be used: ${thrown.message}`, thrown.help);
  }
};

function warnOfKey({ node, path, report }: Cursor, why: string): void {
  report.add("GAR0012", node.place, `${quote(path)}: ${why}`, "tokens that it signed are refused");
}

/** The keys of an issuer: `jwks`, `jwksUri`, or what its discovery leads to. */
export function jwksSource(fields: Fields, issuer: string): JwksSource | undefined {
  const timeoutMs = fields.optional("timeout", timeout) ?? DEFAULT_TIMEOUT_MS;
  const inline = fields.optional("jwks", inlineJwks);
  const uri = fields.optional("jwksUri", jwksUri);
  if (fields.has("jwks") && fields.has("jwksUri"))
    return wrong(fields.cursor, "GAR0007", "has both `jwks` and `jwksUri`", "keep one of them");
  if (fields.has("jwks")) return inline;
  if (fields.has("jwksUri")) return uri === undefined ? undefined : { kind: "uri", url: uri, timeoutMs };
  if (isHttpUrl(issuer)) return { kind: "discovery", url: issuer, timeoutMs };
  return wrong(
    fields.cursor,
    "GAR0005",
    "has neither `jwks` nor `jwksUri`, and its issuer is no address where the keys could be discovered",
    "add `jwksUri`, the address of the issuer's keys",
  );
}

// === The rule ===

/** A token that is taken out of a header must not come back there as its own content. */
function checkOutputs({ cursor }: Fields, { fromHeaders, outputPayloadToHeader, outputClaimToHeaders }: Omit<JwtRule, "jwks">): void {
  const places = fromHeaders.length === 0 ? ["authorization"] : fromHeaders.map(({ name }) => name);
  const outputs = [outputPayloadToHeader, ...outputClaimToHeaders.map(({ header }) => header)];
  const shared = outputs.find((name) => name !== undefined && places.includes(name));
  if (shared === undefined) return;
  wrong(cursor, "GAR0007", `writes to ${quote(shared)}, where its tokens are read`, "choose another header for the output");
}

export const jwtRule: Decoder<JwtRule> = record((fields) => {
  const issuer = fields.optional("issuer", stringUpTo(LIMITS.text)) ?? "";
  const jwks = jwksSource(fields, issuer);
  // VA-5.
  if (issuer === "" && !fields.has("jwksUri") && jwks !== undefined)
    wrong(fields.cursor, "GAR0005", "has neither an `issuer` nor a `jwksUri`", "add the issuer, as its tokens have it in `iss`");
  const rule = {
    issuer,
    audiences: fields.optional("audiences", texts) ?? [],
    fromHeaders: fields.optional("fromHeaders", list(fromHeader, { max: LIMITS.jwtValues })) ?? [],
    fromParams: fields.optional("fromParams", texts) ?? [],
    fromCookies: fields.optional("fromCookies", texts) ?? [],
    forwardOriginalToken: fields.optional("forwardOriginalToken", boolean) ?? false,
    outputPayloadToHeader: fields.optional("outputPayloadToHeader", outputHeader),
    outputClaimToHeaders: fields.optional("outputClaimToHeaders", list(claimToHeader, { max: LIMITS.jwtValues })) ?? [],
    spaceDelimitedClaims: fields.optional("spaceDelimitedClaims", list(text, { max: LIMITS.spaceDelimitedClaims })) ?? [],
    presence: fields.optional("presence", oneOf(["OPTIONAL", "REQUIRED"])) ?? "OPTIONAL",
  };
  checkOutputs(fields, rule);
  return jwks === undefined ? undefined : { ...rule, jwks };
});
