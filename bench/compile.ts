/**
 * Compiling a large mesh, and what one change costs: 10,000 AuthorizationPolicies over 2,000 workloads, each with an Envoy that is
 * connected, from decoded objects to the bytes that would be sent. `node --expose-gc bench/compile.ts [POLICIES] [WORKLOADS]`.
 */
import { silentLogger } from "../src/core/logger.ts";
import { DEFAULT_TRUST_DOMAIN } from "../src/identity/trust-domain.ts";
import { DEFAULT_CLUSTER_DOMAIN, DEFAULT_ROOT_NAMESPACE, type MeshSettings } from "../src/mesh/snapshot.ts";
import { type MeshObject, objectKey } from "../src/policy/model.ts";
import { MeshState } from "../src/server/mesh-state.ts";
import { formatProxyView, Publisher } from "../src/server/publisher.ts";
import { RENDERERS } from "../src/server/render.ts";
import { ResourceCache } from "../src/xds/cache.ts";
import type { ResourceSet } from "../src/xds/resource.ts";
import { makeMesh, policyOf, serviceOf, workloadOf } from "./compile/workload.ts";
import { heapUsed, print } from "./harness.ts";

const SETTINGS: MeshSettings = {
  trustDomain: DEFAULT_TRUST_DOMAIN,
  rootNamespace: DEFAULT_ROOT_NAMESPACE,
  clusterDomain: DEFAULT_CLUSTER_DOMAIN,
};

/** A control plane without its network. */
function openControlPlane() {
  const mesh = new MeshState(SETTINGS, silentLogger);
  const cache = new ResourceCache();
  const rendered: string[] = [];
  const publisher = new Publisher(
    cache,
    {
      ...RENDERERS,
      envoy(policy, secrets, own) {
        rendered.push(policy.workload);
        return RENDERERS.envoy(policy, secrets, own);
      },
    },
    mesh.current,
    silentLogger,
    { ms: Number.POSITIVE_INFINITY, now: () => 0, next: (resume) => resume(), after: (_, resume) => resume() },
  );
  mesh.onChange((view) => publisher.publish(view));
  return { mesh, cache, publisher, rendered };
}

/** The resources that differ, and their bytes. */
function differences(
  before: ResourceSet | undefined,
  after: ResourceSet | undefined,
): { readonly resources: number; readonly bytes: number } {
  const changed = [...(after ?? new Map())].flatMap(([typeUrl, resources]) =>
    [...resources.values()].filter(({ name, version }) => before?.get(typeUrl)?.get(name)?.version !== version),
  );
  return { resources: changed.length, bytes: changed.reduce((total, { body }) => total + body.length, 0) };
}

function main(policies: number, workloads: number): void {
  const objects = makeMesh(policies, workloads);
  const { mesh, cache, publisher, rendered } = openControlPlane();
  const timed = (action: () => void): number => {
    const start = performance.now();
    action();
    return Math.round((performance.now() - start) * 10) / 10;
  };

  /** Each is compiled when it is asked for. */
  const compiledAll = () => new Map(mesh.current.policies);

  const before = heapUsed();
  const compileMs = timed(() => {
    mesh.apply({ objects, diagnostics: [] });
    compiledAll();
  });
  const compiledMb = Math.round((heapUsed() - before) / 1e6);
  const keys = [...mesh.current.policies.keys()].map((workload) => formatProxyView({ kind: "envoy", workload }));
  const renderMs = timed(() => {
    for (const key of keys) publisher.connected(key);
  });
  const renderedMb = Math.round((heapUsed() - before) / 1e6) - compiledMb;
  const machine = { policies, workloads, objects: objects.length };
  print({ bench: "compile, all", ...machine, compileMs, compiledMb, renderMs, renderedMb, problems: mesh.current.diagnostics.length });

  /** The median of several times; what it reaches is of the last one. */
  const change = (what: string, edited: (turn: number) => MeshObject): void => {
    const times: number[] = [];
    let outcome = {};
    for (let turn = 1; turn <= 7; turn++) {
      const object = edited(turn);
      const at = objects.findIndex((one) => objectKey(one) === objectKey(object));
      const next = objects.with(at, object);
      const [old, sets] = [compiledAll(), new Map(keys.map((key) => [key, cache.get(key)]))];
      rendered.length = 0;
      times.push(timed(() => mesh.apply({ objects: next, diagnostics: [] })));
      const compiled = [...compiledAll()].filter(([name, policy]) => old.get(name) !== policy).length;
      const sent = keys.map((key) => differences(sets.get(key), cache.get(key))).filter(({ resources }) => resources > 0);
      const bytes = sent.reduce((total, one) => total + one.bytes, 0);
      outcome = {
        compiled,
        rendered: rendered.length,
        proxies: sent.length,
        resources: sent.reduce((total, one) => total + one.resources, 0),
        bytes,
      };
    }
    times.sort((left, right) => left - right);
    print({ bench: "compile, one change", what, ...machine, medianMs: times[3], ...outcome });
  };
  change("a policy of one application", (turn) => policyOf(7, `/turn-${turn}`));
  change("a policy of the root namespace", (turn) => policyOf(-1, `/turn-${turn}`));
  change("a workload's address", (turn) => workloadOf(7, `10.200.0.${turn}`));
  change("a service's port", (turn) => serviceOf(3, 9000 + turn));
}

const [policies = 10_000, workloads = 2000] = process.argv.slice(2).map(Number);
main(policies, workloads);
