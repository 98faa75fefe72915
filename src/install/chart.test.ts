import assert from "node:assert/strict";
import { test } from "node:test";
import { type ChartName, type Manifest, renderChart } from "./chart.ts";

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
  assert.equal(own.length, 2);
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
