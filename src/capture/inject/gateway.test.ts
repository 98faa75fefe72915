import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { InjectOptions } from "./containers.ts";
import { injectPod } from "./inject.ts";
import { listOf, type Plain, plainOf } from "./plain.ts";

const OPTIONS: InjectOptions = {
  image: "registry.example/garrison:1",
  controlPlane: "garrison.garrison-system.svc:15012",
  trustDomain: "cluster.local",
};

function podOf(spec: Plain, metadata: Plain): Plain {
  const own = { containers: [{ name: "app", image: "app" }], ...spec };
  return { apiVersion: "v1", kind: "Pod", metadata: { name: "ingress", ...metadata }, spec: own };
}

function injected(pod: Plain): Plain {
  const injection = injectPod(pod, OPTIONS);
  if (injection.kind === "skipped") throw new Error(injection.reason);
  return injection.pod;
}

describe("a pod that is a gateway", () => {
  const meta = (more: Plain = {}) => ({ annotations: { "inject.istio.io/templates": "gateway", ...more }, labels: { istio: "ingress" } });
  const ingress = (more: Plain = {}, metadata: Plain = meta()) =>
    podOf({ containers: [{ name: "istio-proxy", image: "auto", command: ["x"], ports: [{ containerPort: 8443 }], ...more }] }, metadata);

  it("is an agent and Envoy in the place that is kept for them, and nothing of it is captured", () => {
    const pod = injected(ingress({ resources: { requests: { cpu: "1" } }, securityContext: { runAsUser: 1337 } }));
    const spec = plainOf(pod, "spec");
    assert.deepEqual(listOf(spec, "initContainers"), []);
    const [proxy, ...others] = listOf(spec, "containers") as readonly Plain[];
    assert.deepEqual([others.length, proxy?.name, proxy?.image, proxy?.command], [0, "istio-proxy", OPTIONS.image, undefined]);
    assert.deepEqual([proxy?.restartPolicy, plainOf(proxy, "resources").requests], [undefined, { cpu: "1" }]);
    assert.equal(listOf(proxy, "args")[0], "agent");
    assert.deepEqual(plainOf(proxy, "securityContext").capabilities, { drop: ["ALL"] });
    assert.deepEqual(
      (listOf(proxy, "ports") as readonly Plain[]).map(({ containerPort }) => containerPort),
      [8443, 15_021],
    );
    const metadata = plainOf(pod, "metadata");
    assert.equal(plainOf(metadata, "annotations")["sidecar.istio.io/interceptionMode"], "NONE");
    assert.deepEqual(metadata.labels, { istio: "ingress" });
    assert.deepEqual(injectPod(pod, OPTIONS), { kind: "skipped", reason: "it has been injected already" });
  });

  it("gets its proxy beside what else it has, and is told where an image is replaced", () => {
    const beside = injected(podOf({}, meta()));
    const names = (listOf(plainOf(beside, "spec"), "containers") as readonly Plain[]).map(({ name }) => name);
    assert.deepEqual(names, ["istio-proxy", "app"]);
    const replaced = injectPod(ingress({ image: "istio/proxyv2:1.30" }), OPTIONS);
    assert.match(replaced.kind === "injected" ? replaced.notes.join() : "", /^the image `istio\/proxyv2:1\.30` .* is replaced by /);
  });

  it("is not made where it asks for what there is not", () => {
    const refusal = (metadata: Plain) => () => injectPod(ingress({}, metadata), OPTIONS);
    assert.throws(
      refusal(meta({ "inject.istio.io/templates": "gateway,mine" })),
      /`inject\.istio\.io\/templates: gateway,mine` is not supported/,
    );
    assert.throws(refusal(meta({ "sidecar.istio.io/interceptionMode": "REDIRECT" })), /is on a gateway, of which nothing is captured/);
  });
});
