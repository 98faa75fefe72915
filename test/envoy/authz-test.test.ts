/** `garrison authz test --engine envoy`: a user proves the offline answers by a real Envoy. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { garrison } from "../feature/garrison.ts";
import { CLIENT_IDENTITY, meshFiles, OPEN_RULE, SERVER, UNUSED_PORTS } from "../feature/mesh.ts";
import { Place } from "../feature/place.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

const skip = skipWithoutEnvoy();
const place = new Place({ after }, meshFiles(UNUSED_PORTS));

function fileOf(text: string): string {
  const file = join(place.folder, "tests.yaml");
  writeFileSync(file, text);
  return file;
}

const RIGHT = `tests:
  - { name: the client reads, workload: ${SERVER}, request: { from: "${CLIENT_IDENTITY}", path: /open }, expect: 200, by: "${OPEN_RULE}" }
  - { name: the client deletes, workload: ${SERVER}, request: { from: "${CLIENT_IDENTITY}", path: /shut }, expect: deny, by: default }
  - { name: nobody, workload: ${SERVER}, request: { from: plaintext }, expect: refused }
`;

describe("garrison authz test --engine envoy", { skip, timeout: 120_000 }, () => {
  test("answers as expected, names the engine, and says that the decision engine agrees", async () => {
    const { exit, stdout, stderr } = await garrison(["authz", "test", fileOf(RIGHT), "-f", place.config, "--engine", "envoy"]);
    assert.match(stdout, /^3 as expected, 0 not by Envoy \d+\.\d+\.\d+, the decision engine says the same\n$/);
    assert.deepEqual([exit, stderr], [0, ""]);
  });

  test("tells what is not as expected, and what cannot be asked", async () => {
    const wrong = `${RIGHT}  - { name: wrong, workload: ${SERVER}, request: { from: plaintext }, expect: 200 }
  - { name: far, workload: ${SERVER}, request: { from: plaintext, sourceIp: 192.0.2.1 }, expect: refused }
`;
    const { exit, stdout } = await garrison(["authz", "test", fileOf(wrong), "-f", place.config, "--engine", "envoy"]);
    assert.equal(exit, 1);
    assert.match(stdout, /tests\.yaml:5:5: wrong \(\S+\): expected 200, got refused\n/);
    assert.match(stdout, /far \(\S+\): a real Envoy cannot be asked from 192\.0\.2\.1, which is no address of this machine\n/);
    assert.match(stdout, /\n3 as expected, 2 not by Envoy/);
  });
});

/** Two workloads with one port number and two protocols, which one Envoy cannot have at a time. */
const TWICE = `apiVersion: v1
kind: ServiceAccount
metadata: { name: web, namespace: two }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: db, namespace: two }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: web, namespace: two }
spec: { address: 127.0.0.1, serviceAccount: web, labels: { app: web } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: db, namespace: two }
spec: { address: 127.0.0.2, serviceAccount: db, labels: { app: db } }
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: web, namespace: two }
spec:
  workloadSelector: { labels: { app: web } }
  ingress: [{ port: { number: 28080, protocol: HTTP, name: http }, defaultEndpoint: "127.0.0.1:18080" }]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: db, namespace: two }
spec:
  workloadSelector: { labels: { app: db } }
  ingress: [{ port: { number: 28080, protocol: TCP, name: tcp }, defaultEndpoint: "127.0.0.1:18081" }]
`;

test("workloads that need two Envoys, and a test that has no answer, keep no other from being asked", {
  skip,
  timeout: 120_000,
}, async (t) => {
  const two = new Place(t, { "two.yaml": TWICE });
  const asked = `tests:
  - { name: web, workload: two/web, request: { from: "spiffe://cluster.local/ns/two/sa/db" }, expect: allow, by: no-policy }
  - { name: db, workload: two/db, request: { from: "spiffe://cluster.local/ns/two/sa/web" }, expect: allow, by: no-policy }
  - { name: no account, workload: two/db, request: { from: "two/web", protocol: http }, expect: allow }
  - { name: nowhere, workload: two/db, request: { from: plaintext, port: 9 }, expect: refused }
`;
  const { exit, stdout } = await garrison(["authz", "test", fileOf(asked), "-f", two.config, "--engine", "envoy"]);
  assert.match(stdout, /no account \(two\/db\): port 28080 of `two\/db` speaks tcp, not http\n/);
  assert.match(stdout, /\n3 as expected, 1 not by Envoy/);
  assert.equal(exit, 1);
});

test("an engine that is none is refused", async () => {
  const { exit, stderr } = await garrison(["authz", "test", fileOf(RIGHT), "-f", place.config, "--engine", "istio"]);
  assert.equal(exit, 2);
  assert.match(stderr, /`--engine istio` is not known\n {2}help: it is decision or envoy/);
});
