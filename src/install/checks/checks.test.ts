import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { makeCaFiles } from "../../ca/new-ca.ts";
import { AppError } from "../../core/error.ts";
import { parseTrustDomain } from "../../identity/trust-domain.ts";
import type { KubernetesApi } from "../../sources/kubernetes/api.ts";
import { BEFORE } from "./before.ts";
import { type Check, failed, OK, runChecks } from "./check.ts";
import { INSTALLED, OF_PROXIES } from "./installed.ts";
import { REVISIONS } from "./revisions.ts";

const NOW = Date.parse("2027-01-01T00:00:00Z");
const DAY_MS = 86_400_000;

/** An API server that has this answer for paths that end so, and nothing else. */
function serverWith(answers: Readonly<Record<string, unknown>>): KubernetesApi {
  return {
    call: async (_method, path) => {
      const found = Object.entries(answers).find(([end]) => path.endsWith(end));
      return found === undefined ? { status: 404, body: {} } : { status: 200, body: found[1] };
    },
    watch: () => Promise.reject(new AppError("unavailable", "nothing is watched")),
  };
}

function run(checks: readonly Check[], api: KubernetesApi, now = NOW) {
  return runChecks(checks, { api, namespace: "garrison-system", now }, () => undefined);
}

test("each check has a heading in the documentation, which it links to", () => {
  const page = readFileSync(new URL("../../../docs/tasks/kubernetes-install.md", import.meta.url), "utf8");
  const headings = [...page.matchAll(/^### (.+)$/gm)].map(([, id]) => id);
  assert.deepEqual(headings.sort(), [...new Set([...BEFORE, ...INSTALLED, ...OF_PROXIES].map(({ id }) => id))].sort());
});

test("a check that cannot be made has failed with the reason, and the others are made", async () => {
  const broken: Check = {
    id: "a",
    title: "a",
    run: () => Promise.reject(new AppError("permission-denied", "you may not", { where: "pods" })),
  };
  const well: Check = { id: "b", title: "b", run: async () => OK };
  const results = await run([broken, well], serverWith({}));
  assert.deepEqual(
    results.map(({ id, state, detail }) => [id, state, detail]),
    [
      ["a", "failed", "pods: you may not"],
      ["b", "ok", undefined],
    ],
  );
});

test("after a first check that fails, nothing is asked", async () => {
  const first: Check = { id: "a", title: "a", first: true, run: async () => failed("no", "do") };
  assert.equal((await run([first, ...BEFORE], serverWith({}))).length, 1);
});

test("a namespace whose revision no webhook serves is told", async () => {
  const webhook = (key: string, value: string) => ({ namespaceSelector: { matchExpressions: [{ key, operator: "In", values: [value] }] } });
  const namespace = (name: string, labels: Readonly<Record<string, string>>) => ({ metadata: { name, labels } });
  const namespaces = [
    namespace("served", { "istio.io/rev": "default" }),
    namespace("left", { "istio.io/rev": "1-24" }),
    namespace("out", { "istio-injection": "disabled", "istio.io/rev": "1-24" }),
    namespace("first", { "istio-injection": "enabled", "istio.io/rev": "1-24" }),
    namespace("plain", {}),
  ];
  const ask = (webhooks: readonly unknown[]) =>
    run([REVISIONS], serverWith({ "/mutatingwebhookconfigurations": { items: [{ webhooks }] }, "/namespaces": { items: namespaces } }));
  const [some] = await ask([webhook("istio.io/rev", "default"), { namespaceSelector: { matchLabels: { "istio-injection": "enabled" } } }]);
  assert.deepEqual([some?.state, some?.detail], ["warning", "nobody injects the pods of left (`istio.io/rev: 1-24`)"]);
  const [all] = await ask([webhook("istio.io/rev", "default"), webhook("istio.io/rev", "1-24"), webhook("istio-injection", "enabled")]);
  assert.equal(all?.state, "ok");
  const [none] = await ask([]);
  assert.match(none?.detail ?? "", /^nobody injects the pods of served .*, left .*, first \(`istio-injection: enabled`\)$/);
});

test("an API server older than 1.30 is refused", async () => {
  const [old] = await run(BEFORE.slice(0, 1), serverWith({ "/version": { major: "1", minor: "29+", gitVersion: "v1.29.1" } }));
  assert.deepEqual([old?.state, old?.detail], ["failed", "it is v1.29.1"]);
});

test("roots in the webhooks are well, then about to end, then expired", async () => {
  const pem = makeCaFiles({ trustDomain: parseTrustDomain("cluster.local"), now: NOW, backdateSeconds: 60 })["root-cert.pem"] ?? "";
  const caBundle = Buffer.from(pem).toString("base64");
  const api = serverWith({ "/validatingwebhookconfigurations/garrison": { webhooks: [{ name: "a", clientConfig: { caBundle } }] } });
  const webhooks = INSTALLED.filter(({ id }) => id === "webhooks");
  const stateAt = async (now: number) => (await run(webhooks, api, now))[0];
  assert.equal((await stateAt(NOW))?.state, "ok");
  const end = new X509Certificate(pem).validToDate.getTime();
  assert.deepEqual(
    [(await stateAt(end - 10 * DAY_MS))?.state, (await stateAt(end - 10 * DAY_MS))?.detail],
    ["warning", "the last root ends in 10 days"],
  );
  assert.equal((await stateAt(end + 1000))?.state, "failed");
});
