/** RequestAuthentication in the embedded proxy: who a request's tokens say that it is from, before anything is decided. */
import type { CompiledJwtRule } from "../compile/workload-policy.ts";
import type { Clock } from "../core/clock.ts";
import { claimAt, type Requester, SPACE_DELIMITED_CLAIMS } from "../policy/requester.ts";
import { valuesOf } from "./headers.ts";
import { type FoundToken, findTokens, withoutHeaders, withoutParam } from "./jwt-locations.ts";
import { JwtFailure, type ParsedJwt } from "./jwt-parse.ts";
import { UNKNOWN_ISSUER, verifyJwt } from "./jwt-verify.ts";
import type { HeaderList, RequestHead } from "./message.ts";

/** A request that may be decided on: its requester, where a token proved one, and the head that goes on. */
export interface Authenticated {
  readonly head: RequestHead;
  readonly requester: Requester | undefined;
}

interface Verified {
  readonly rule: CompiledJwtRule;
  readonly found: FoundToken;
  readonly token: ParsedJwt;
}

const MISSING = new JwtFailure("Jwt is missing");

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
  if (typeof claim === "string") return Buffer.from(claim).toString("latin1");
  if (typeof claim === "number") return formatNumber(claim);
  return typeof claim === "boolean" ? String(claim) : Buffer.from(JSON.stringify(claim)).toString("base64");
}

/** What a rule tells the application of a token. */
function outputsOf({ rule, token }: Verified): HeaderList {
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

function applyTo(head: RequestHead, verified: readonly Verified[]): RequestHead | JwtFailure {
  const taken = verified.filter(({ rule }) => !rule.forwardOriginalToken).map(({ found }) => found.place);
  const outputs = verified.flatMap(outputsOf);
  if (!outputs.every(isHeaderText)) return new JwtFailure("a claim of the Jwt cannot be written into a header");
  const names = new Set(taken.flatMap(({ kind, name }) => (kind === "header" ? [name] : [])));
  const query = taken.reduce((left, { kind, name }) => (kind === "param" ? withoutParam(left, name) : left), head.path.query);
  return { ...head, path: { ...head.path, query }, headers: [...withoutHeaders(head.headers, names), ...outputs] };
}

// === What a request must have ===

/** A CORS preflight carries no credentials (Fetch §3.2.2), and so is never asked for any. */
function isPreflight({ method, headers }: RequestHead): boolean {
  return (
    method === "OPTIONS" &&
    ["origin", "access-control-request-method"].every((name) => valuesOf(headers, name).some((value) => value !== ""))
  );
}

/** Which of several failures a client hears of: a token of another issuer says less than one that is wrong (as in Envoy). */
function worst(failures: readonly JwtFailure[]): JwtFailure | undefined {
  const told = failures.filter((failure) => failure !== MISSING);
  return told.find((failure) => failure !== UNKNOWN_ISSUER) ?? told[0];
}

/** Asks a workload's rules of requests. */
export class RequestAuthentication {
  readonly #rules: readonly CompiledJwtRule[];
  readonly #required: readonly CompiledJwtRule[];
  /** Headers that only a verified token may write. */
  readonly #outputs: ReadonlySet<string>;
  readonly #clock: Clock;

  constructor(rules: readonly CompiledJwtRule[], clock: Clock) {
    this.#rules = rules;
    this.#required = rules.filter(({ presence }) => presence === "REQUIRED");
    this.#clock = clock;
    this.#outputs = new Set(
      rules.flatMap((rule) => [
        ...(rule.outputPayloadToHeader === undefined ? [] : [rule.outputPayloadToHeader]),
        ...rule.outputClaimToHeaders.map(({ header }) => header),
      ]),
    );
  }

  /** The request as it may be decided on, or why it is refused. Never rejects. */
  async authenticate(original: RequestHead): Promise<Authenticated | JwtFailure> {
    // 1. What a client says by the headers of verified tokens is nothing.
    const head = { ...original, headers: withoutHeaders(original.headers, this.#outputs) };
    if (isPreflight(head)) return { head, requester: undefined };
    // 2. Its tokens.
    const verified = await (this.#required.length > 0 ? this.#every(head) : this.#first(head));
    if (verified instanceof JwtFailure) return verified;
    // 3. What becomes of them; the last one is the requester's.
    const applied = applyTo(head, verified);
    if (applied instanceof JwtFailure) return applied;
    const last = verified.at(-1);
    return { head: applied, requester: last === undefined ? undefined : requesterOf(last) };
  }

  /** JW-8: every required token. */
  async #every(head: RequestHead): Promise<readonly Verified[] | JwtFailure> {
    const all: Verified[] = [];
    for (const rule of this.#required) {
      const verified = await this.#tokensOf(rule, head);
      if (verified instanceof JwtFailure) return verified;
      all.push(...verified);
    }
    return all;
  }

  /** JW-1: the first rule that is satisfied is enough; where none is, none may have found a token. */
  async #first(head: RequestHead): Promise<readonly Verified[] | JwtFailure> {
    const failures: JwtFailure[] = [];
    for (const rule of this.#rules) {
      const verified = await this.#tokensOf(rule, head);
      if (!(verified instanceof JwtFailure)) return verified;
      failures.push(verified);
    }
    return worst(failures) ?? [];
  }

  /** All tokens that a rule finds must be valid: the application may look at any of them. */
  async #tokensOf(rule: CompiledJwtRule, head: RequestHead): Promise<readonly Verified[] | JwtFailure> {
    const tokens = findTokens(rule, head);
    if (tokens.length === 0) return MISSING;
    const verified: Verified[] = [];
    for (const found of tokens) {
      const token = await verifyJwt(found.text, rule, this.#clock);
      if (token instanceof JwtFailure) return token;
      verified.push({ rule, found, token });
    }
    return verified;
  }
}

/** `WWW-Authenticate` (RFC 6750 §3), without the query: a token may stand there, and answers are logged. */
export function challengeOf(failure: JwtFailure, { authority, path, headers }: RequestHead): HeaderList {
  const [scheme = "http"] = valuesOf(headers, "x-forwarded-proto");
  const realm = `${scheme}://${authority}${path.path}`.replace(/[^\x21\x23-\x5b\x5d-\x7e]/g, "").slice(0, 256);
  return ["www-authenticate", `Bearer realm="${realm}"${failure === MISSING ? "" : ', error="invalid_token"'}`];
}
