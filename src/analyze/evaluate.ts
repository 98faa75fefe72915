/** What comes of a request at a workload, by the decision engine: connection first, then policy. */
import type { CompiledJwtRule, InboundListener, WorkloadPolicy } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import { type Asking, type Decision, type Facts, formatBecause, type HttpFacts } from "../policy/decision.ts";
import type { PathNormalization } from "../policy/mesh-config.ts";
import { formatOrigin } from "../policy/origin.ts";
import { remoteAddress } from "../policy/remote-address.ts";
import { type AskedHead, headOf, httpFactsOf, withForwarded, withTokens } from "./asked-head.ts";
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

export interface Outcome {
  readonly effect: "allow" | "deny" | "refused";
  /** `NAMESPACE/POLICY[RULE]`, `default` or `no-policy`; empty for `refused`. */
  readonly by: string;
  /** The AUDIT rules that matched, as `NAMESPACE/POLICY[RULE]`. */
  readonly audit: readonly string[];
  /** In words, for `refused`. */
  readonly why: string;
  /** For a token that is refused: the status that the client gets. */
  readonly status?: 401 | 403;
}

/** The listener that a request is for. Throws `invalid-argument` where it does not say which of several. */
export function listenerFor(policy: WorkloadPolicy, { port }: TestRequest): InboundListener | undefined {
  if (port !== undefined) return policy.inbound.find((listener) => listener.port === port);
  if (policy.inbound.length <= 1) return policy.inbound[0];
  const ports = policy.inbound.map((listener) => listener.port).join(", ");
  throw new AppError("invalid-argument", `workload \`${policy.workload}\` listens on several ports`, {
    help: `say which with \`port\`: ${ports}`,
  });
}

/** Why there is no connection, or undefined where there is one. */
function refusal(policy: WorkloadPolicy, listener: InboundListener | undefined, request: TestRequest): string | undefined {
  if (listener === undefined)
    return request.port === undefined ? "the workload listens on no port" : `the workload does not listen on port ${request.port}`;
  if (request.from === undefined) return listener.mtls === "STRICT" ? "plaintext, where the mode is STRICT" : undefined;
  if (listener.mtls === "DISABLE") return "mutual TLS, where the mode is DISABLE";
  const { trustDomain } = parseSpiffeId(request.from);
  return policy.trustDomains.includes(trustDomain) ? undefined : `the trust domain \`${trustDomain}\` is not one of the mesh`;
}

/** The authority that a request has: where it names none, the service's own name. */
export function hostOf(policy: WorkloadPolicy, { host }: TestRequest): string {
  return host ?? policy.workload.split("/")[1] ?? "";
}

/** A host, perhaps with a port (RFC 3986 §3.2.2): what every proxy takes. */
const AUTHORITY = /^[A-Za-z0-9\-._~!$&'()*+,;=%:[\]]+$/;

function factsOf(listener: InboundListener, request: TestRequest, http: HttpFacts | undefined, trustedProxies = 0): Facts {
  const sourceIp = request.sourceIp ?? "127.0.0.1";
  const forwarded = http?.headers.get("x-forwarded-for") ?? [];
  return {
    peer: request.from,
    sourceIp,
    remoteIp: remoteAddress(sourceIp, forwarded, trustedProxies),
    destinationIp: listener.bind,
    destinationPort: listener.port,
    sni: request.sni ?? "",
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
      readonly listener: InboundListener | undefined;
      readonly why: string;
      /** Of a token that is refused; absent otherwise. */
      readonly tokens?: TokenVerdict & { readonly kind: "refused" };
    }
  /** It hangs on a token whose issuer's keys nobody here knows. */
  | { readonly kind: "unknown"; readonly listener: InboundListener; readonly why: string; readonly tokens: TokenVerdict }
  | { readonly kind: "arrived"; readonly listener: InboundListener; readonly facts: Facts; readonly tokens?: TokenVerdict };

const UNKNOWN_WHY = "a token is of an issuer whose keys are fetched, and they are not known here";
const UNKNOWN_HELP =
  "ask a control plane that runs, which has them; or say what the token claims with `jwt`, to ask as of one that its issuer signed";

/** How far a request of HTTP comes. */
function arriveByHttp(engine: Arriving, policy: WorkloadPolicy, asked: TestRequest, listener: InboundListener): Arrival {
  const refuse = (why: string): Arrival => ({ kind: "refused", listener, why });
  const request = withForwarded(policy, asked);
  const path = engine.normalizePath(withTokens(request, engine.tokenOf).path, policy.pathNormalization ?? "BASE");
  if (path === undefined) return refuse("the path is not one that a proxy takes");
  const host = hostOf(policy, request);
  if (!AUTHORITY.test(host)) return refuse("the host is not one that a proxy takes");
  const tokens = authenticate(engine, policy, request, path);
  if (tokens.kind === "unknown") return { kind: "unknown", listener, why: UNKNOWN_WHY, tokens };
  if (tokens.kind === "refused") return { kind: "refused", listener, why: tokens.text, tokens };
  const facts = factsOf(listener, request, httpFactsOf(tokens.head, host), policy.numTrustedProxies);
  return { kind: "arrived", listener, tokens, facts: tokens.requester === undefined ? facts : { ...facts, requester: tokens.requester } };
}

/** How far a request comes. Throws `invalid-argument` for a question that has no one meaning. */
export function arrive(engine: Arriving, policy: WorkloadPolicy, request: TestRequest): Arrival {
  const listener = listenerFor(policy, request);
  const why = refusal(policy, listener, request);
  if (listener === undefined || why !== undefined) return { kind: "refused", listener, why: why ?? "" };
  const isHttp = listener.protocol !== "tcp";
  if (request.protocol !== undefined && (request.protocol === "http") !== isHttp) {
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
  if (arrival.kind === "unknown") throw new AppError("invalid-argument", arrival.why, { help: UNKNOWN_HELP });
  if (arrival.kind === "refused") {
    const { why, tokens } = arrival;
    return { effect: "refused", by: "", audit: [], why, ...(tokens === undefined ? {} : { status: tokens.status }) };
  }
  const { facts } = arrival;
  checkAnswers(facts.http === undefined ? engine.asksTcp(facts) : engine.asksHttp(facts), request);
  return toOutcome(facts.http === undefined ? engine.tcp(facts) : engine.http(facts));
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

function toOutcome({ effect, because, audit }: Decision): Outcome {
  return { effect, by: formatBecause(because), audit: audit.map(formatOrigin), why: "" };
}

const STATUS_OF_EFFECT = { allow: 200, deny: 403, refused: 0 } as const satisfies Record<Outcome["effect"], number>;

/** Whether an outcome is what was expected. */
export function meets(outcome: Outcome, { expect, by, audit }: Pick<TestCase, "expect" | "by" | "audit">): boolean {
  const status = outcome.status ?? STATUS_OF_EFFECT[outcome.effect];
  const effect = typeof expect === "number" ? status === expect : outcome.effect === expect;
  return effect && (by === undefined || by === outcome.by) && (audit === undefined || audit.join() === outcome.audit.join());
}
