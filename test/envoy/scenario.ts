/** One real Envoy as the sidecar of `photo-ns/photo-backend`, with a fake control plane and agent, and clients to try it with. */
import type { Server } from "node:net";
import { join } from "node:path";
import type { AuthorizationLayers, CompiledRule, InboundListener, WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import type { AttributeKey } from "../../src/policy/attributes.ts";
import type { Clause } from "../../src/policy/model.ts";
import type { ValueMatch } from "../../src/policy/pattern.ts";
import { renderEnvoy } from "../../src/render/envoy/render.ts";
import { FakeCa } from "../fakes/fake-ca.ts";
import { EnvoyProcess, workFolder } from "./envoy-process.ts";
import { FakeAgent, FakeControlPlane } from "./fake-control-plane.ts";
import { freePort, LOOPBACK } from "./loopback.ts";

export const CONTROL_PLANE = "spiffe://cluster.local/ns/istio-system/sa/garrison";
export const BACKEND = "spiffe://cluster.local/ns/photo-ns/sa/photo-backend";
export const FRONTEND = "spiffe://cluster.local/ns/photo-ns/sa/photo-frontend";

/** No policy at all. */
export const OPEN: AuthorizationLayers = { audit: [], deny: [], allow: undefined };

export function clause(
  attribute: AttributeKey,
  values: readonly ValueMatch[],
  options: { readonly argument?: string; readonly negated?: boolean } = {},
): Clause {
  return { attribute, argument: options.argument ?? "", values, negated: options.negated ?? false };
}

/** A rule that asks for all of these. */
export function ruleWhen(policy: string, index: number, ...when: readonly Clause[]): CompiledRule {
  return { origin: { namespace: "photo-ns", policy, rule: index }, condition: { kind: "when", from: [], to: [], when } };
}

export function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  return address.port;
}

/** An inbound listener of the workload. */
export async function inbound(options: Pick<InboundListener, "protocol" | "mtls" | "endpoint">): Promise<InboundListener> {
  const port = await freePort();
  return { name: `inbound_${port}`, bind: LOOPBACK, port, services: [], ...options };
}

/** A policy of the workload. */
export function policyOf(parts: Partial<WorkloadPolicy>): WorkloadPolicy {
  const base = { workload: "photo-ns/photo-backend", address: "127.0.0.1", identity: BACKEND, trustDomains: ["cluster.local"] };
  return { ...base, inbound: [], outbound: [], http: OPEN, tcp: OPEN, ...parts };
}

const NODE = {
  id: "sidecar~127.0.0.1~photo-backend.photo-ns~photo-ns.svc.cluster.local",
  cluster: "photo-backend.photo-ns",
  metadata: { NAMESPACE: "photo-ns" },
};

export class Scenario {
  readonly ca: FakeCa;
  readonly controlPlane: FakeControlPlane;
  readonly envoy: EnvoyProcess;
  readonly #close: () => Promise<void>;

  private constructor(ca: FakeCa, controlPlane: FakeControlPlane, envoy: EnvoyProcess, close: () => Promise<void>) {
    this.ca = ca;
    this.controlPlane = controlPlane;
    this.envoy = envoy;
    this.#close = close;
  }

  /** Resolves when Envoy serves the policy; nothing is left running when it does not come to that. */
  static async start(
    policy: WorkloadPolicy,
    ca = new FakeCa(),
    workload = ca.material(policy.identity),
    systemRoots = ca.rootPem,
    bundles?: ReadonlyMap<string, string>,
  ): Promise<Scenario> {
    const resources = renderEnvoy(policy);
    const folder = workFolder();
    const controlPlane = new FakeControlPlane();
    const agent = new FakeAgent();
    const sdsSocket = join(folder.path, "sds.sock");
    await controlPlane.listen(ca.material(CONTROL_PLANE));
    await agent.listen(sdsSocket, workload, systemRoots, bundles);
    void controlPlane.serve(resources);
    const at = { address: "127.0.0.1", port: controlPlane.port, identity: CONTROL_PLANE };
    const envoy = EnvoyProcess.start(folder.path, { node: NODE, controlPlane: at, sdsSocket, xds: "sotw", records: "control-plane" });
    const close = async (): Promise<void> => {
      await envoy.stop();
      controlPlane.close();
      agent.close();
      folder[Symbol.dispose]();
    };
    await envoy.ready().catch(async (error: unknown) => {
      await close();
      throw error;
    });
    return new Scenario(ca, controlPlane, envoy, close);
  }

  stop(): Promise<void> {
    return this.#close();
  }
}
