/** RequestAuthentication: who a request's tokens say that it is from, before anything is decided (JW-1 to JW-4, JW-8). */
import type { CompiledJwtRule } from "../../../compile/workload-policy.ts";
import { encodeBase64, toByteText } from "../../../policy/byte-text.ts";
import { claimAt, type Requester, SPACE_DELIMITED_CLAIMS } from "../../../policy/requester.ts";
import { type FoundToken, findTokens, type HeaderLines, headerValues, type TokenHead, withoutHeaders, withoutParam } from "./locations.ts";
import { JwtFailure, type ParsedJwt } from "./parse.ts";
import { KEYS_UNKNOWN, type TokenChecks, UNKNOWN_ISSUER, verifyToken } from "./verify.ts";

interface Verified {
  readonly rule: CompiledJwtRule;
  readonly found: FoundToken;
  readonly token: ParsedJwt;
}

export const MISSING = new JwtFailure("Jwt is missing");

// === What becomes of a verified token ===

/** `scope` and others as lists, as policies ask for them. */
function requesterOf({ rule, token }: Verified): Requester {
  const claims = { ...token.claims };
  for (const name of [...SPACE_DELIMITED_CLAIMS, ...rule.spaceDelimitedClaims]) {
    const value = Object.hasOwn(claims, name) ? claims[name] : undefined;
    if (typeof value === "string" && value !== "") claims[name] = value.split(" ").filter((part) => part !== "");
  }
  return { claims };
}

/** Numbers as Envoy writes them: whole ones up to 64 bits, others with six decimals. */
function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return "";
  if (Number.isInteger(value) && value >= 0 && value < 2 ** 64) return BigInt(value).toString();
  return Math.abs(value) < 1e21 ? value.toFixed(6) : `${BigInt(Math.trunc(value))}.000000`;
}

/** A claim as a header's value, in bytes; undefined for what is not there, empty or null. */
function headerValue(claim: unknown): string | undefined {
  if (claim === undefined || claim === null || claim === "") return undefined;
  if (typeof claim === "string") return toByteText(claim);
  if (typeof claim === "number") return formatNumber(claim);
  return typeof claim === "boolean" ? String(claim) : encodeBase64(JSON.stringify(claim));
}

/** What a rule tells the application of a token. */
function outputsOf({ rule, token }: Verified): HeaderLines {
  const payload = rule.outputPayloadToHeader === undefined ? [] : [rule.outputPayloadToHeader, token.encodedPayload];
  const claims = rule.outputClaimToHeaders.flatMap(({ header, claim }) => {
    const value = headerValue(claimAt(token, claim.split(".")));
    return value === undefined ? [] : [header, value];
  });
  return [...payload, ...claims];
}

/** RFC 9110 §5.5: anything else in a claim would end the header and begin another. */
function isHeaderText(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  return !/[\x00-\x08\x0a-\x1f\x7f]/.test(text);
}

function applyTo<H extends TokenHead>(head: H, verified: readonly Verified[]): H | JwtFailure {
  const taken = verified.filter(({ rule }) => !rule.forwardOriginalToken).map(({ found }) => found.place);
  const outputs = verified.flatMap(outputsOf);
  if (!outputs.every(isHeaderText)) return new JwtFailure("a claim of the Jwt cannot be written into a header");
  const names = new Set(taken.flatMap(({ kind, name }) => (kind === "header" ? [name] : [])));
  const query = taken.reduce((left, { kind, name }) => (kind === "param" ? withoutParam(left, name) : left), head.path.query);
  return { ...head, path: { ...head.path, query }, headers: [...withoutHeaders(head.headers, names), ...outputs] };
}

// === What a request must have ===

/** A CORS preflight carries no credentials (Fetch §3.2.2), and so is never asked for any. */
function isPreflight({ method, headers }: TokenHead): boolean {
  return (
    method === "OPTIONS" &&
    ["origin", "access-control-request-method"].every((name) => headerValues(headers, name).some((value) => value !== ""))
  );
}

/** Which of several failures a client hears of: a token of another issuer says less than one that is wrong (as in Envoy). */
function worst(failures: readonly JwtFailure[]): JwtFailure | undefined {
  const told = failures.filter((failure) => failure !== MISSING);
  return told.find((failure) => failure !== UNKNOWN_ISSUER) ?? told[0];
}

/** One token that a rule has found, and what came of it. */
export interface TokenAttempt {
  /** Of the rule among the workload's. */
  readonly rule: number;
  readonly found: FoundToken;
  /** Undefined where the token is good. */
  readonly failure: JwtFailure | undefined;
}

/** A request that may be decided on: its requester, where a token proved one, and the head that goes on. */
export interface Authenticated<H> {
  readonly head: H;
  readonly requester: Requester | undefined;
}

interface Rule {
  readonly index: number;
  readonly rule: CompiledJwtRule;
}

type Attempted = ((attempt: TokenAttempt) => void) | undefined;

/** Asks a workload's rules of requests. */
export class RequestAuthentication {
  readonly #rules: readonly Rule[];
  readonly #required: readonly Rule[];
  /** Headers that only a verified token may write. */
  readonly #outputs: ReadonlySet<string>;
  readonly #checks: TokenChecks;

  constructor(rules: readonly CompiledJwtRule[], checks: TokenChecks) {
    this.#rules = rules.map((rule, index) => ({ rule, index }));
    this.#required = this.#rules.filter(({ rule }) => rule.presence === "REQUIRED");
    this.#checks = checks;
    this.#outputs = new Set(
      rules.flatMap((rule) => [
        ...(rule.outputPayloadToHeader === undefined ? [] : [rule.outputPayloadToHeader]),
        ...rule.outputClaimToHeaders.map(({ header }) => header),
      ]),
    );
  }

  /** The request as it may be decided on, or why it is refused. `attempted` hears of every token that is looked at. */
  authenticate<H extends TokenHead>(original: H, attempted?: (attempt: TokenAttempt) => void): Authenticated<H> | JwtFailure {
    // 1. What a client says by the headers of verified tokens is nothing.
    const head = { ...original, headers: withoutHeaders(original.headers, this.#outputs) };
    if (isPreflight(head)) return { head, requester: undefined };
    // 2. Its tokens.
    const verified = this.#required.length > 0 ? this.#every(head, attempted) : this.#first(head, attempted);
    if (verified instanceof JwtFailure) return verified;
    // 3. What becomes of them; the last one is the requester's.
    const applied = applyTo(head, verified);
    if (applied instanceof JwtFailure) return applied;
    const last = verified.at(-1);
    return { head: applied, requester: last === undefined ? undefined : requesterOf(last) };
  }

  /** JW-8: every required token. */
  #every(head: TokenHead, attempted: Attempted): readonly Verified[] | JwtFailure {
    const all: Verified[] = [];
    for (const rule of this.#required) {
      const verified = this.#tokensOf(rule, head, attempted);
      if (verified instanceof JwtFailure) return verified;
      all.push(...verified);
    }
    return all;
  }

  /** JW-1: the first rule that is satisfied is enough; where none is, none may have found a token. */
  #first(head: TokenHead, attempted: Attempted): readonly Verified[] | JwtFailure {
    const failures: JwtFailure[] = [];
    for (const rule of this.#rules) {
      const verified = this.#tokensOf(rule, head, attempted);
      if (!(verified instanceof JwtFailure)) return verified;
      if (verified === KEYS_UNKNOWN) return verified;
      failures.push(verified);
    }
    return worst(failures) ?? [];
  }

  /** All tokens that a rule finds must be valid: the application may look at any of them. */
  #tokensOf({ rule, index }: Rule, head: TokenHead, attempted: Attempted): readonly Verified[] | JwtFailure {
    const tokens = findTokens(rule, head);
    if (tokens.length === 0) return MISSING;
    const verified: Verified[] = [];
    for (const found of tokens) {
      const token = verifyToken(found.text, rule, this.#checks);
      attempted?.({ rule: index, found, failure: token instanceof JwtFailure ? token : undefined });
      if (token instanceof JwtFailure) return token;
      verified.push({ rule, found, token });
    }
    return verified;
  }
}
