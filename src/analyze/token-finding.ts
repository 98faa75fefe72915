/** What became of a request's tokens, and why, in words. */
import type { CompiledJwtRule } from "../compile/workload-policy.ts";
import { quote } from "../policy/decode/report.ts";
import type { Requester } from "../policy/requester.ts";
import type { AskedHead } from "./asked-head.ts";

/** What a token says of itself, as far as it can be read; nothing of it is proved. */
export interface ReadToken {
  readonly issuer: string;
  /** Empty where it names none. */
  readonly kid: string;
  readonly algorithm: string;
  readonly audiences: readonly string[];
  /** Seconds since the epoch; 0 where it does not say. */
  readonly expires: number;
  readonly notBefore: number;
}

/** Why a rule does not take a token: by what it asks first. */
export type TokenProblem =
  | "malformed"
  | "issuer"
  | "not-yet-valid"
  | "expired"
  | "audience"
  | "no-keys"
  | "no-key"
  | "signature"
  | "unknown-keys";

/** One token that a rule has found. */
export interface TokenFinding {
  /** Of the rule among the workload's. */
  readonly rule: number;
  readonly place: { readonly kind: "header" | "param" | "cookie"; readonly name: string };
  readonly token: ReadToken | undefined;
  /** Absent where the rule takes it. */
  readonly problem?: TokenProblem;
  /** The proxy's words for the problem; empty where there is none. */
  readonly text: string;
}

/** What the rules for tokens say of a request. */
export type TokenVerdict = {
  /** In the order in which they are looked at. */
  readonly findings: readonly TokenFinding[];
  /** Milliseconds since the epoch: when it was asked. */
  readonly now: number;
} & (
  | { readonly kind: "passed"; readonly head: AskedHead; readonly requester: Requester | undefined }
  | { readonly kind: "refused"; readonly status: 401 | 403; readonly text: string }
  /** It hangs on keys that are fetched, and nobody here has fetched them. */
  | { readonly kind: "unknown" }
);

const NAMES = { header: "the header", param: "the parameter", cookie: "the cookie" } as const;

/** `the header `x-token``. */
export function describePlace({ kind, name }: TokenFinding["place"]): string {
  return `${NAMES[kind]} ${quote(name)}`;
}

function moment(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString();
}

function anyOf(texts: readonly string[]): string {
  return texts.length === 0 ? "nobody" : texts.map(quote).join(" or ");
}

function issuerOf({ issuer }: Pick<CompiledJwtRule, "issuer">): string {
  return issuer === "" ? "any issuer" : quote(issuer);
}

function reason({ problem, text, token }: TokenFinding, rule: CompiledJwtRule, now: number): string {
  if (problem === undefined || problem === "malformed" || token === undefined) return text === "" ? "it is valid" : text;
  const { issuer, kid, algorithm, audiences, expires, notBefore } = token;
  const clock = `it is ${moment(Math.floor(now / 1000))}, and 60 s of difference are let pass`;
  switch (problem) {
    case "issuer":
      return `its issuer is ${issuer === "" ? "not said" : quote(issuer)}, and the rule takes ${issuerOf(rule)}`;
    case "not-yet-valid":
      return `it is valid from ${moment(notBefore)} on (nbf); ${clock}`;
    case "expired":
      return `it expired at ${moment(expires)} (exp); ${clock}`;
    case "audience":
      return `it is for ${anyOf(audiences)} (aud), and the rule takes tokens for ${anyOf(rule.audiences)}`;
    case "no-keys":
      return "the rule has no key: none was ever fetched, none is usable, or the policy is invalid";
    case "no-key":
      return `none of the rule's ${rule.keys.length} keys is ${kid === "" ? "of" : `called ${quote(kid)} (kid) and of`} algorithm ${quote(algorithm)}`;
    case "signature":
      return "its signature is not by a key of the rule";
    case "unknown-keys":
      return "its issuer's keys are fetched, and a folder alone does not have them";
  }
}

/** Which rule, and why it takes the token or does not: issuer, key, clock, audience. */
export function describeFinding(finding: TokenFinding, rule: CompiledJwtRule, now: number): string {
  return `in ${describePlace(finding.place)}, by the rule for ${issuerOf(rule)}: ${reason(finding, rule, now)}`;
}
