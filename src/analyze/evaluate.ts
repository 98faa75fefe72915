/** What comes of a request at a workload, by the decision engine: connection first, then policy. */
import { clientMayNotSay } from "../compile/reserved-headers.ts";
import type { CompiledJwtRule, WorkloadPolicy } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import { matchesHeader } from "../policy/authorizer-headers.ts";
import { type Asking, type Decision, type Facts, formatBecause, type HttpFacts } from "../policy/decision.ts";
import { quote } from "../policy/decode/report.ts";
import { isTakenMethod } from "../policy/http-method.ts";
import type { PathNormalization } from "../policy/mesh-config.ts";
import { formatOrigin } from "../policy/origin.ts";
import { remoteAddress } from "../policy/remote-address.ts";
import { type AskedHead, headOf, httpFactsOf, withForwarded, withTokens } from "./asked-head.ts";
import { type Entrance, entranceFor, refusalAt, spokenAt } from "./entrance.ts";
import { type Unrouted, unrouted } from "./route.ts";
import type { TestCase } from "./test-case.ts";
import type { TestRequest } from "./test-request.ts";
import type { Claims } from "./test-token.ts";
import type { TokenVerdict } from "./token-finding.ts";

/** How requests come to rules, as `render/decide` has it. */
export interface Arriving {
  /** Path and query as the proxy sees them, or undefined for a path that it refuses. */
  normalizePath(path: string, mode: PathNormalization): AskedHead["path"] | undefined;
  /** The text of a token with these claims, which `authenticate` takes for one that its issuer has signed if it is among `vouched`. */
  tokenOf(claims: Claims): string;
  authenticate(asked: {
    readonly rules: readonly CompiledJwtRule[];
    readonly head: AskedHead;
    readonly vouched: ReadonlySet<string>;
  }): TokenVerdict;
}

/** An engine's questions, as `render/decide` answers them. */
export interface Engine extends Arriving {
  http(facts: Facts): Decision;
  tcp(facts: Facts): Decision;
  /** Whose answers the decision needs. */
  asksHttp(facts: Facts): readonly Asking[];
  asksTcp(facts: Facts): readonly Asking[];
}

/** Of a refused token, and of a gateway whose routes lead nowhere. */
export type RefusedStatus = 401 | 403 | Unrouted["status"];

export interface Outcome {
  readonly effect: "allow" | "deny" | "refused";
  /** `NAMESPACE/POLICY[RULE]`, `default` or `no-policy`; empty for `refused`. */
  readonly by: string;
  /** The AUDIT rules that matched, as `NAMESPACE/POLICY[RULE]`. */
  readonly audit: readonly string[];
  /** In words, for `refused`. */
  readonly why: string;
  /** For `refused`, where a token is refused or a gateway answers by itself: the status that the client gets. */
  readonly status?: RefusedStatus;
  /** What it would be, were dry runs in force; absent where the workload has none. */
  readonly dryRun?: { readonly effect: "allow" | "deny"; readonly by: string };
}

/** The authority that a request has: where it names none, the service's own name. */
export function hostOf(policy: WorkloadPolicy, { host }: TestRequest): string {
  return host ?? policy.workload.split("/")[1] ?? "";
}

/** A host, perhaps with a port (RFC 3986 §3.2.2): what every proxy takes. */
const AUTHORITY = /^[A-Za-z0-9\-._~!$&'()*+,;=%:[\]]+$/;

/** A gateway adds the client's address before any rule is asked, behind what the proxies in front have told. */
function withOwnHop(http: HttpFacts, sourceIp: string): HttpFacts {
  const line = [...(http.headers.get("x-forwarded-for") ?? []), sourceIp].join(",");
  return { ...http, headers: new Map([...http.headers, ["x-forwarded-for", [line]]]) };
}

function factsOf(listener: Entrance, request: TestRequest, asked: HttpFacts | undefined, proxies = 0): Facts {
  const sourceIp = request.sourceIp ?? "127.0.0.1";
  const http = asked !== undefined && listener.isGateway === true ? withOwnHop(asked, sourceIp) : asked;
  const trustedProxies = listener.isGateway === true && proxies > 0 ? proxies + 1 : proxies;
  const forwarded = http?.headers.get("x-forwarded-for") ?? [];
  return {
    peer: request.from,
    sourceIp,
    remoteIp: remoteAddress(sourceIp, forwarded, trustedProxies),
    destinationIp: listener.bind,
    destinationPort: listener.port,
    sni: listener.serverName ?? request.sni ?? "",
    http,
    ...(request.authorizers === undefined ? {} : { authorizers: request.authorizers }),
  };
}

/** What the rules for tokens say of a request; one that has none passes as it is. */
function authenticate(engine: Arriving, policy: WorkloadPolicy, request: TestRequest, path: AskedHead["path"]): TokenVerdict {
  const vouched = new Set(request.tokens.flatMap((token) => (token.kind === "claims" ? [engine.tokenOf(token.claims)] : [])));
  const head = headOf(withTokens(request, engine.tokenOf), path);
  const { requestAuthentication: rules } = policy;
  if (rules === undefined) return { kind: "passed", head, requester: undefined, findings: [], now: 0 };
  return engine.authenticate({ rules, head, vouched });
}

/** Where a request comes to, before any rule is asked. */
export type Arrival =
  | {
      readonly kind: "refused";
      readonly listener: Entrance | undefined;
      readonly why: string;
      /** Of a token that is refused; absent otherwise. */
      readonly tokens?: TokenVerdict & { readonly kind: "refused" };
      /** As it is when authorizers are asked, which is before its tokens are looked at; absent where nobody is asked. */
      readonly asked?: Facts;
    }
  /** It hangs on a token whose issuer's keys nobody here knows. */
  | { readonly kind: "unknown"; readonly listener: Entrance; readonly why: string; readonly tokens: TokenVerdict; readonly asked?: Facts }
  | { readonly kind: "arrived"; readonly listener: Entrance; readonly facts: Facts; readonly tokens?: TokenVerdict };

const UNKNOWN_WHY = "a token is of an issuer whose keys are fetched, and they are not known here";
const UNKNOWN_HELP =
  "ask a control plane that runs, which has them; or say what the token claims with `jwt`, to ask as of one that its issuer signed";

/** Why proxies answer 400 to the method of a request; undefined where they take it. */
function refusedMethod(listener: Entrance, request: TestRequest): string | undefined {
  const spoken = spokenAt(listener, request) === "http" ? "http" : "http2";
  const { method, headers } = request;
  if (isTakenMethod(method, spoken, headers.get("content-type") ?? [])) return undefined;
  return spoken === "http2"
    ? "proxies answer 400 to `QUERY` without a `content-type`"
    : `proxies answer 400 to ${quote(method)} over HTTP/1.1; \`protocol: http2\` asks over HTTP/2, where they take any method`;
}

/** The request as proxies hand it to whoever is asked. */
function sanitized(policy: WorkloadPolicy, request: TestRequest): TestRequest {
  if (policy.authorizers === undefined) return request;
  const reserved = clientMayNotSay(policy);
  return { ...request, headers: new Map([...request.headers].filter(([name]) => !matchesHeader(reserved, name))) };
}

/** How far a request of HTTP comes. */
function arriveByHttp(engine: Arriving, policy: WorkloadPolicy, asked: TestRequest, listener: Entrance): Arrival {
  const refuse = (why: string): Arrival => ({ kind: "refused", listener, why });
  const request = sanitized(policy, withForwarded(policy, asked));
  const badMethod = refusedMethod(listener, asked);
  if (badMethod !== undefined) return refuse(badMethod);
  const path = engine.normalizePath(withTokens(request, engine.tokenOf).path, policy.pathNormalization ?? "BASE");
  if (path === undefined) return refuse("the path is not one that a proxy takes");
  const host = hostOf(policy, request);
  if (!AUTHORITY.test(host)) return refuse("the host is not one that a proxy takes");
  const seen = (head: AskedHead): Facts => factsOf(listener, request, httpFactsOf(head, host), policy.numTrustedProxies);
  const asking = policy.authorizers === undefined ? {} : { asked: seen(headOf(withTokens(request, engine.tokenOf), path)) };
  const tokens = authenticate(engine, policy, request, path);
  if (tokens.kind === "unknown") return { kind: "unknown", listener, why: UNKNOWN_WHY, tokens, ...asking };
  if (tokens.kind === "refused") return { kind: "refused", listener, why: tokens.text, tokens, ...asking };
  const requester = tokens.requester === undefined ? {} : { requester: tokens.requester };
  return { kind: "arrived", listener, tokens, facts: { ...seen(tokens.head), ...requester, ...asking } };
}

/** How far a request comes. Throws `invalid-argument` for a question that has no one meaning. */
export function arrive(engine: Arriving, policy: WorkloadPolicy, request: TestRequest): Arrival {
  checkProviders(policy, request);
  const listener = entranceFor(policy, request);
  const why = refusalAt(policy, listener, request);
  if (listener === undefined || why !== undefined) return { kind: "refused", listener, why: why ?? "" };
  const isHttp = listener.protocol !== "tcp";
  if (request.protocol !== undefined && (request.protocol !== "tcp") !== isHttp) {
    throw new AppError(
      "invalid-argument",
      `port ${listener.port} of \`${policy.workload}\` speaks ${listener.protocol}, not ${request.protocol}`,
    );
  }
  return isHttp
    ? arriveByHttp(engine, policy, request, listener)
    : { kind: "arrived", listener, facts: factsOf(listener, request, undefined) };
}

/** What comes of a request. Throws as `arrive`, and `invalid-argument` where it hangs on what nobody knows. */
export function evaluate(engine: Engine, policy: WorkloadPolicy, request: TestRequest): Outcome {
  const arrival = arrive(engine, policy, request);
  const stopped = stoppedByAuthorizer(engine, arrival, request);
  if (stopped !== undefined) return toOutcome(stopped);
  if (arrival.kind === "unknown") throw new AppError("invalid-argument", arrival.why, { help: UNKNOWN_HELP });
  if (arrival.kind === "refused") {
    const { why, tokens } = arrival;
    return { effect: "refused", by: "", audit: [], why, ...(tokens === undefined ? {} : { status: tokens.status }) };
  }
  const { facts } = arrival;
  checkAnswers(facts.http === undefined ? engine.asksTcp(facts) : engine.asksHttp(facts.asked ?? facts), request);
  const outcome = toOutcome(facts.http === undefined ? engine.tcp(facts) : engine.http(facts));
  const answered = outcome.effect === "allow" ? unrouted(arrival.listener, facts) : undefined;
  return answered === undefined ? outcome : { ...outcome, ...answered, effect: "refused", by: "" };
}

/** Authorizers are asked before tokens are looked at (XD-9): what one denies is no matter of them. Throws where it hangs on one. */
function stoppedByAuthorizer(engine: Engine, arrival: Arrival, request: TestRequest): Decision | undefined {
  if (arrival.kind === "arrived" || arrival.asked === undefined) return undefined;
  const askings = engine.asksHttp(arrival.asked);
  checkAnswers(askings, request);
  const denied = askings.find(({ provider }) => request.authorizers?.get(provider) === "deny");
  return denied && { effect: "deny", because: { kind: "rule", action: "CUSTOM", origin: denied.origin }, audit: [] };
}

/** Throws `invalid-argument` for an answer of somebody whom the workload never asks. */
function checkProviders({ workload, http, tcp }: WorkloadPolicy, request: TestRequest): void {
  const known = [...new Set([...(http.custom ?? []), ...(tcp.custom ?? [])].map(({ provider }) => provider))];
  const unknown = [...(request.authorizers?.keys() ?? [])].find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const help =
    known.length === 0 ? "no CUSTOM policy is for it; leave `authorizers` out" : `it asks ${known.map((name) => quote(name)).join(", ")}`;
  throw new AppError("invalid-argument", `\`${workload}\` asks no provider ${quote(unknown)}`, { help });
}

/** Nobody can ask an authorizer here, so that its answer is a part of the question. */
function checkAnswers(asked: readonly Asking[], { authorizers }: TestRequest): void {
  const open = asked.find(({ provider }) => authorizers?.has(provider) !== true);
  if (open === undefined) return;
  const help = `say what it answers: \`authorizers: { ${open.provider}: allow }\``;
  throw new AppError("invalid-argument", `it hangs on the provider \`${open.provider}\`, which ${formatOrigin(open.origin)} asks`, {
    help,
  });
}

function toOutcome({ effect, because, audit, dryRun }: Decision): Outcome {
  const tried = dryRun === undefined ? {} : { dryRun: { effect: dryRun.effect, by: formatBecause(dryRun.because) } };
  return { effect, by: formatBecause(because), audit: audit.map(formatOrigin), why: "", ...tried };
}

const STATUS_OF_EFFECT = { allow: 200, deny: 403, refused: 0 } as const satisfies Record<Outcome["effect"], number>;

export type Expected = Pick<TestCase, "expect" | "by" | "audit" | "dryRun" | "dryRunBy">;

/** Without a dry run, what would be is what is: a test holds also after its policy has come in force. */
function meetsDryRun(outcome: Outcome, { dryRun, dryRunBy }: Expected): boolean {
  const { effect, by } = outcome.dryRun ?? outcome;
  return (dryRun === undefined || dryRun === effect) && (dryRunBy === undefined || dryRunBy === by);
}

/** Whether an outcome is what was expected. */
export function meets(outcome: Outcome, expected: Expected): boolean {
  const { expect, by, audit } = expected;
  const status = outcome.status ?? STATUS_OF_EFFECT[outcome.effect];
  const effect = typeof expect === "number" ? status === expect : outcome.effect === expect;
  if (!meetsDryRun(outcome, expected)) return false;
  return effect && (by === undefined || by === outcome.by) && (audit === undefined || audit.join() === outcome.audit.join());
}
