/** What comes of a request at a workload, by the decision engine: connection first, then policy. */
import type { InboundListener, WorkloadPolicy } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import { type Decision, type Facts, formatBecause, type HttpFacts } from "../policy/decision.ts";
import type { PathNormalization } from "../policy/mesh-config.ts";
import { formatOrigin } from "../policy/origin.ts";
import { remoteAddress } from "../policy/remote-address.ts";
import type { TestCase } from "./test-case.ts";
import type { TestRequest } from "./test-request.ts";

/** An engine's two questions, as `render/decide` answers them. */
export interface Engine {
  http(facts: Facts): Decision;
  tcp(facts: Facts): Decision;
  /** A path as the proxy sees it, or undefined for one that it refuses. */
  normalizePath(path: string, mode: PathNormalization): string | undefined;
}

export interface Outcome {
  readonly effect: "allow" | "deny" | "refused";
  /** `NAMESPACE/POLICY[RULE]`, `default` or `no-policy`; empty for `refused`. */
  readonly by: string;
  /** The AUDIT rules that matched, as `NAMESPACE/POLICY[RULE]`. */
  readonly audit: readonly string[];
  /** In words, for `refused`. */
  readonly why: string;
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

/** Host counts among the headers, as proxies have it. */
function httpFacts({ method, headers }: TestRequest, path: string, host: string): HttpFacts {
  return { method, path, host, headers: new Map([...headers, ["host", [host]]]) };
}

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
  };
}

/** Where a request comes to, before any rule is asked. */
export type Arrival =
  | { readonly kind: "refused"; readonly listener: InboundListener | undefined; readonly why: string }
  | { readonly kind: "arrived"; readonly listener: InboundListener; readonly facts: Facts };

/** How far a request comes. Throws `invalid-argument` for a question that has no one meaning. */
export function arrive({ normalizePath }: Pick<Engine, "normalizePath">, policy: WorkloadPolicy, request: TestRequest): Arrival {
  const listener = listenerFor(policy, request);
  const refuse = (why: string): Arrival => ({ kind: "refused", listener, why });
  const why = refusal(policy, listener, request);
  if (listener === undefined || why !== undefined) return refuse(why ?? "");
  const isHttp = listener.protocol !== "tcp";
  if (request.protocol !== undefined && (request.protocol === "http") !== isHttp) {
    throw new AppError(
      "invalid-argument",
      `port ${listener.port} of \`${policy.workload}\` speaks ${listener.protocol}, not ${request.protocol}`,
    );
  }
  if (!isHttp) return { kind: "arrived", listener, facts: factsOf(listener, request, undefined) };
  const path = normalizePath(request.path, policy.pathNormalization ?? "BASE");
  if (path === undefined) return refuse("the path is not one that a proxy takes");
  // A question carries no token, so that it is what a request without one is (JW-8).
  if (policy.requestAuthentication?.some(({ presence }) => presence === "REQUIRED") === true) return refuse("a token is required");
  const host = hostOf(policy, request);
  if (!AUTHORITY.test(host)) return refuse("the host is not one that a proxy takes");
  return { kind: "arrived", listener, facts: factsOf(listener, request, httpFacts(request, path, host), policy.numTrustedProxies) };
}

/** What comes of a request. Throws as `arrive`. */
export function evaluate(engine: Engine, policy: WorkloadPolicy, request: TestRequest): Outcome {
  const arrival = arrive(engine, policy, request);
  if (arrival.kind === "refused") return refused(arrival.why);
  return toOutcome(arrival.facts.http === undefined ? engine.tcp(arrival.facts) : engine.http(arrival.facts));
}

function refused(why: string): Outcome {
  return { effect: "refused", by: "", audit: [], why };
}

function toOutcome({ effect, because, audit }: Decision): Outcome {
  return { effect, by: formatBecause(because), audit: audit.map(formatOrigin), why: "" };
}

const STATUS_OF_EFFECT = { allow: 200, deny: 403, refused: 0 } as const satisfies Record<Outcome["effect"], number>;

/** Whether an outcome is what was expected. */
export function meets(outcome: Outcome, { expect, by, audit }: Pick<TestCase, "expect" | "by" | "audit">): boolean {
  const effect = typeof expect === "number" ? STATUS_OF_EFFECT[outcome.effect] === expect : outcome.effect === expect;
  return effect && (by === undefined || by === outcome.by) && (audit === undefined || audit.join() === outcome.audit.join());
}
