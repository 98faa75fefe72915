/** Both engines in front of one application, by one policy with authorizers: what is asked of one is asked of the other. */
import { once } from "node:events";
import type { Server } from "node:net";
import { readHttpEntry, readTcpEntry } from "../../src/audit/als-entry.ts";
import type { Authorizer, CustomRule, UpstreamService, WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import type { FakeCa } from "../fakes/fake-ca.ts";
import { makeProxy } from "../fakes/proxy-setup.ts";
import { BACKEND, clause, portOf, Scenario } from "./scenario.ts";

/** What is told of a decision, by either engine. */
export interface Told {
  readonly effect: string;
  readonly origin: string;
  readonly detail: string;
}

export interface Side {
  readonly name: "envoy" | "embedded";
  /** What the nth decision on this path (or of TCP, for "") was; with an effect, the nth of these. */
  told(path: string, count?: number, effect?: string): Promise<Told>;
  stop(): Promise<void>;
}

/** The plaintext port of a service at 127.0.0.1. */
export function upstream(name: string, port: number, protocol: UpstreamService["protocol"], identity?: string): UpstreamService {
  const host = `${name}.auth.svc.cluster.local`;
  const endpoint = { address: "127.0.0.1", port, identity: identity ?? BACKEND, mtls: identity !== undefined };
  return { service: `auth/${name}`, host, port, protocol, sni: `outbound_.${port}_._.${host}`, endpoints: [endpoint] };
}

const SHARED = {
  timeoutMs: 10_000,
  failOpen: false,
  statusOnError: 403,
  clearRouteCache: false,
  includeRequestBodyInCheck: undefined,
} as const;

export function overHttp(name: string, at: UpstreamService, more: Partial<Extract<Authorizer, { kind: "http" }>> = {}): Authorizer {
  const lists = { includeRequestHeadersInCheck: [], includeAdditionalHeadersInCheck: [], headersToUpstreamOnAllow: [] };
  const told = { headersToDownstreamOnDeny: [], headersToDownstreamOnAllow: [] };
  return { kind: "http", name, ...SHARED, pathPrefix: "", ...lists, ...told, upstream: at, ...more };
}

export function overGrpc(name: string, at: UpstreamService, more: Partial<Extract<Authorizer, { kind: "grpc" }>> = {}): Authorizer {
  return { kind: "grpc", name, ...SHARED, upstream: at, ...more };
}

/** Asks a provider of what its path begins with: `/PROVIDER`. */
export function ruleFor(provider: string, place: number, path = `/${provider}`): CustomRule {
  const when = [clause("path", [{ kind: "prefix", value: path }])];
  return {
    provider,
    place,
    origin: { namespace: "photo-ns", policy: provider, rule: 0 },
    condition: { kind: "when", from: [], to: [], when },
  };
}

export async function listening(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return portOf(server);
}

/** A real Envoy by this policy. */
export async function envoySide(policy: WorkloadPolicy, ca: FakeCa): Promise<Side> {
  const scenario = await Scenario.start(policy, ca);
  const { controlPlane } = scenario;
  if (controlPlane.nacks.length > 0) {
    await scenario.stop();
    throw new Error(`Envoy refuses the policy: ${controlPlane.nacks.join("; ")}`);
  }
  const records = (path: string, only: string | undefined) =>
    controlPlane.logs
      .map((entry) => {
        const from = { workload: policy.workload, identity: policy.identity, log: entry.log, serviceOf: () => "" };
        return entry.kind === "http" ? readHttpEntry(entry.entry, from) : readTcpEntry(entry.entry, from);
      })
      .flatMap((meaning) =>
        meaning.kind === "record" && meaning.record.path === path && (only ?? meaning.record.effect) === meaning.record.effect
          ? [meaning.record]
          : [],
      );
  return {
    name: "envoy",
    told: async (path, count = 1, only) => {
      await controlPlane.until(() => records(path, only).length >= count);
      const { effect = "", origin = "", detail = "" } = records(path, only)[count - 1] ?? {};
      return { effect, origin, detail };
    },
    stop: () => scenario.stop(),
  };
}

/** The embedded proxy by this policy. */
export async function embeddedSide(policy: WorkloadPolicy, ca: FakeCa): Promise<Side> {
  const { proxy, keeper } = makeProxy({ ca, identity: policy.identity });
  await proxy.apply(policy);
  return {
    name: "embedded",
    told: async (path, count = 1, only) => {
      const {
        effect = "",
        origin = "",
        detail = "",
      } = await keeper.next(({ path: asked = "", effect: told }) => asked === path && (only ?? told) === told, count);
      return { effect, origin, detail };
    },
    stop: () => proxy.close(0),
  };
}
