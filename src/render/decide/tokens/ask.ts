/** Tokens of questions: the same rules as for requests, with every step told, and tokens that count as signed by their issuer. */
import type { CompiledJwtRule } from "../../../compile/workload-policy.ts";
import { encodeBase64 } from "../../../policy/byte-text.ts";
import { type Authenticated, RequestAuthentication, type TokenAttempt } from "./authenticate.ts";
import type { TokenHead } from "./locations.ts";
import { JwtFailure, type ParsedJwt, parseJwt } from "./parse.ts";
import {
  BAD_SIGNATURE,
  type CheckSignature,
  EXPIRED,
  KEYS_UNKNOWN,
  NO_KEYS,
  NO_MATCHING_KEY,
  NOT_YET_VALID,
  signatureCheck,
  UNKNOWN_ISSUER,
  type VerifySignature,
  WRONG_AUDIENCE,
} from "./verify.ts";

const PROBLEMS = new Map([
  [UNKNOWN_ISSUER, "issuer"],
  [NOT_YET_VALID, "not-yet-valid"],
  [EXPIRED, "expired"],
  [WRONG_AUDIENCE, "audience"],
  [NO_KEYS, "no-keys"],
  [NO_MATCHING_KEY, "no-key"],
  [BAD_SIGNATURE, "signature"],
  [KEYS_UNKNOWN, "unknown-keys"],
] as const);

/** No signature is so short: what no issuer has signed cannot be mistaken for it. */
const VOUCHED = "AAAA";

/** The text of a token with these claims that `askTokens` takes for one that its issuer has signed. */
export function vouchedToken(claims: Readonly<Record<string, unknown>>): string {
  const section = (value: object): string => encodeBase64(JSON.stringify(value), "base64url");
  return `${section({ alg: "ES256" })}.${section(claims)}.${VOUCHED}`;
}

/** Signatures as far as they can be known; `vouched` are tokens of `vouchedToken`. */
function checkOf(verify: VerifySignature, vouched: ReadonlySet<string>): CheckSignature {
  const check = signatureCheck(verify);
  return (token, rule) => {
    if (rule.keys.length === 0 && rule.keysUnknown !== true) return NO_KEYS;
    if (vouched.has(`${token.signed}.${VOUCHED}`) && token.signature.length === 3) return undefined;
    return rule.keysUnknown === true ? KEYS_UNKNOWN : check(token, rule);
  };
}

function toRead(text: string) {
  const token: ParsedJwt | JwtFailure = parseJwt(text);
  if (token instanceof JwtFailure) return undefined;
  const { issuer, kid, algorithm, audiences, expires, notBefore } = token;
  return { issuer, kid, algorithm, audiences, expires, notBefore };
}

function toFinding({ rule, found, failure }: TokenAttempt) {
  const problem = failure === undefined ? {} : { problem: PROBLEMS.get(failure) ?? ("malformed" as const) };
  return { rule, place: found.place, token: toRead(found.text), text: failure?.text ?? "", ...problem };
}

interface Asked<H> {
  readonly rules: readonly CompiledJwtRule[];
  readonly head: H;
  readonly vouched: ReadonlySet<string>;
}

/** What a workload's rules say of a request's tokens, and of each of them. `now`: milliseconds since the epoch. */
export function askTokens<H extends TokenHead>({ rules, head, vouched }: Asked<H>, verify: VerifySignature, now: number) {
  const attempts: TokenAttempt[] = [];
  const authentication = new RequestAuthentication(rules, { signature: checkOf(verify, vouched), now: () => now });
  const result: Authenticated<H> | JwtFailure = authentication.authenticate(head, (attempt) => attempts.push(attempt));
  const told = { findings: attempts.map(toFinding), now };
  if (!(result instanceof JwtFailure)) return { ...told, kind: "passed", ...result } as const;
  if (result === KEYS_UNKNOWN) return { ...told, kind: "unknown" } as const;
  return { ...told, kind: "refused", status: result.status, text: result.text } as const;
}
