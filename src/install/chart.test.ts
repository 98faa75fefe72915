import assert from "node:assert/strict";
import { test } from "node:test";
import { type ChartName, type Manifest, renderChart } from "./chart.ts";
import type { JsonObject } from "./template.ts";

const WEBHOOKS = { webhooks: { url: "https://mesh.example.org" }, clusterName: "west" };

type Webhook = Readonly<Record<string, unknown>> & { readonly clientConfig: unknown };

function webhooksOf(chart: ChartName, kind: string): readonly Webhook[] {
  const values = chart === "garrison" ? [] : [WEBHOOKS];
  const found = renderChart(chart, "garrison-system", values).objects.find((object: Manifest) => object.kind === kind);
  return (found?.webhooks ?? []) as readonly Webhook[];
}

/** What is asked about, and how; by whom it is answered is each chart's own. */
function asked(webhooks: readonly Webhook[], ...own: readonly string[]): readonly unknown[] {
  return webhooks.map((webhook) =>
    Object.fromEntries(Object.entries(webhook).filter(([field]) => !["clientConfig", ...own].includes(field))),
  );
}

test("a remote cluster's pods are chosen for injection by the same rules as those of the control plane's own cluster", () => {
  const [own, remote] = [
    webhooksOf("garrison", "MutatingWebhookConfiguration"),
    webhooksOf("garrison-remote", "MutatingWebhookConfiguration"),
  ];
  assert.equal(own.length, 4);
  assert.deepEqual(asked(remote), asked(own));
  assert.ok(remote.every(({ clientConfig }) => JSON.stringify(clientConfig) === '{"url":"https://mesh.example.org/inject/cluster/west"}'));
});

test("a remote cluster's policies are asked about as those of the control plane's own, but hold up nobody", () => {
  const [own] = webhooksOf("garrison", "ValidatingWebhookConfiguration");
  const remote = webhooksOf("garrison-remote", "ValidatingWebhookConfiguration");
  assert.ok(own !== undefined && remote.length === 1);
  assert.deepEqual(asked(remote, "failurePolicy"), asked([own], "failurePolicy"));
  assert.equal(remote[0]?.failurePolicy, "Ignore");
});

test("without a place to ask, a remote cluster has no webhooks, and its reader no right to any", () => {
  const { objects } = renderChart("garrison-remote", "garrison-system");
  assert.deepEqual(
    objects.map(({ kind }) => kind),
    ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Secret"],
  );
  assert.ok(!JSON.stringify(objects).includes("webhookconfigurations"));
});

test("other clusters are told a DNS name and a port, and nothing that no certificate carries", () => {
  const control = (controlPlane: string) => renderChart("garrison", "garrison-system", [{ multiCluster: { enabled: true, controlPlane } }]);
  const remote = (url: string) => renderChart("garrison-remote", "garrison-system", [{ webhooks: { url } }]);
  for (const good of ["mesh.example.org:15012", "mesh:1", "1.mesh:65535"]) {
    control(good);
    remote(`https://${good}`);
  }
  const wrong = [
    "10.0.0.1:15012",
    "[fd00::1]:15012",
    "mesh.example.org:0",
    "mesh.example.org:65536",
    "mesh..org:1",
    "mesh-.org:1",
    "0x7f:1",
    ":1",
  ];
  for (const each of wrong) {
    assert.throws(() => control(each), /controlPlane/, each);
    assert.throws(() => remote(`https://${each}`), /url/, each);
  }
  assert.throws(() => control("mesh.example.org"), /controlPlane/);
  remote("https://mesh.example.org");
});

test("pods of a remote cluster are made without their proxies where its values say so, while no control plane can be asked", () => {
  const { objects } = renderChart("garrison-remote", "garrison-system", [WEBHOOKS, { injection: { failurePolicy: "Ignore" } }]);
  const webhooks = (objects.find(({ kind }) => kind === "MutatingWebhookConfiguration")?.webhooks ?? []) as readonly Webhook[];
  assert.deepEqual(
    webhooks.map(({ failurePolicy }) => failurePolicy),
    ["Ignore", "Ignore", "Ignore", "Ignore"],
  );
});

function argumentsOf(values: JsonObject): readonly string[] {
  const { objects } = renderChart("garrison", "garrison-system", [values]);
  const { spec } = objects.find(({ kind }) => kind === "Deployment") as unknown as {
    readonly spec: { readonly template: { readonly spec: { readonly containers: readonly [{ readonly args: readonly string[] }] } } };
  };
  return spec.template.spec.containers[0].args;
}

test("what control planes have done is on volumes that outlive their pods where the values say so, and their keys are not", () => {
  const spec = (values: JsonObject) => {
    const { objects } = renderChart("garrison", "garrison-system", [values]);
    const [found, ...others] = objects.filter(({ kind }) => kind === "Deployment" || kind === "StatefulSet");
    assert.deepEqual([others, objects.find(({ kind }) => kind === "HorizontalPodAutoscaler")?.spec], [[], undefined]);
    return found as unknown as { readonly kind: string; readonly spec: JsonObject };
  };
  const [kept, gone] = [spec({ persistence: { enabled: true, size: "8Gi" } }), spec({})];
  assert.deepEqual([kept.kind, gone.kind, gone.spec.volumeClaimTemplates], ["StatefulSet", "Deployment", undefined]);
  const [claim] = kept.spec.volumeClaimTemplates as unknown as readonly [{ readonly spec: JsonObject }];
  assert.deepEqual(claim.spec, { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "8Gi" } } });
  const pod = (kept.spec.template as unknown as { readonly spec: JsonObject }).spec;
  assert.match(JSON.stringify(pod.containers), /"--records=\/var\/lib\/garrison-records\/records"/);
  assert.match(JSON.stringify(pod.volumes), /"name":"state","emptyDir":\{"medium":"Memory"/);
  assert.doesNotMatch(JSON.stringify(gone.spec), /records/);
});

test("the autoscaler knows which of them there is", () => {
  for (const [enabled, kind] of [
    [true, "StatefulSet"],
    [false, "Deployment"],
  ] as const) {
    const { objects } = renderChart("garrison", "garrison-system", [{ autoscaling: { enabled: true }, persistence: { enabled } }]);
    assert.partialDeepStrictEqual(objects.find((each) => each.kind === "HorizontalPodAutoscaler")?.spec, { scaleTargetRef: { kind } });
  }
});

test("metrics are served where the values say so, to whom they say, and nowhere without", () => {
  const render = (values: JsonObject) => renderChart("garrison", "garrison-system", [values]).objects;
  assert.doesNotMatch(JSON.stringify(render({})), /15014|metrics-listen|prometheus/);
  const objects = render({ metrics: { enabled: true } });
  const policy = objects.find(({ kind }) => kind === "NetworkPolicy") as unknown as {
    readonly spec: { readonly ingress: readonly unknown[] };
  };
  assert.deepEqual(policy.spec.ingress[1], {
    from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "monitoring" } } }],
    ports: [{ protocol: "TCP", port: 15014 }],
  });
  assert.ok(argumentsOf({ metrics: { enabled: true } }).includes("--metrics-listen=[::]:15014"));
});

test("injected pods have the control plane's image and its Secrets, unless another image is named", () => {
  const of = (values: JsonObject) => argumentsOf(values).filter((option) => /^--inject-(image|pull)/.test(option));
  assert.deepEqual(of({ image: "a/b:1", imagePullSecrets: [{ name: "registry" }] }), [
    "--inject-image=a/b:1",
    "--inject-pull-secret=registry",
  ]);
  assert.deepEqual(of({ image: "a/b:1", injection: { image: "c/d:2" } }), ["--inject-image=c/d:2"]);
});

test("a revision of its own leaves what asks for the default one to others, and the webhooks are as the values say", () => {
  const values = { revision: "canary", injection: { failurePolicy: "Ignore", timeoutSeconds: 9 } };
  const { objects } = renderChart("garrison", "garrison-system", [values]);
  const webhooks = (objects.find(({ kind }) => kind === "MutatingWebhookConfiguration")?.webhooks ?? []) as readonly Webhook[];
  assert.deepEqual(
    webhooks.map(({ name, failurePolicy, timeoutSeconds }) => [name, failurePolicy, timeoutSeconds]),
    [
      ["revision.namespace.injection.garrison.dev", "Ignore", 9],
      ["revision.pod.injection.garrison.dev", "Ignore", 9],
    ],
  );
  assert.match(JSON.stringify(webhooks), /"key":"istio\.io\/rev","operator":"In","values":\["canary"\]/);
});
