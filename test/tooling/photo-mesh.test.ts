import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { compileMesh } from "../../src/compile/compile.ts";
import type { CompiledRule, WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import { formatDiagnostic } from "../../src/core/diagnostic.ts";
import { parseTrustDomain } from "../../src/identity/trust-domain.ts";
import { checkReferences } from "../../src/mesh/references.ts";
import { buildSnapshot, DEFAULT_CLUSTER_DOMAIN, DEFAULT_ROOT_NAMESPACE } from "../../src/mesh/snapshot.ts";
import { decodeObject } from "../../src/policy/decode/decode.ts";
import type { Endpoint } from "../../src/policy/model.ts";
import { formatOrigin } from "../../src/policy/origin.ts";
import { parseYamlDocuments } from "../../src/sources/yaml-documents.ts";
import { ROOT } from "./program.ts";

const FOLDER = join(ROOT, "examples", "photo");

/** The example as Garrison reads and compiles it. */
function compileExample() {
  const files = globSync("mesh/*.yaml", { cwd: FOLDER }).sort();
  const read = files.map((file) => parseYamlDocuments(readFileSync(join(FOLDER, file), "utf8"), file));
  const decoded = read.flatMap(({ documents }) => documents).map((document) => decodeObject(document));
  const objects = decoded.flatMap(({ object }) => object ?? []);
  const settings = {
    trustDomain: parseTrustDomain("cluster.local"),
    rootNamespace: DEFAULT_ROOT_NAMESPACE,
    clusterDomain: DEFAULT_CLUSTER_DOMAIN,
  };
  const snapshot = buildSnapshot(settings, objects);
  const mesh = compileMesh(snapshot);
  const diagnostics = [
    ...read.flatMap(({ diagnostic }) => diagnostic ?? []),
    ...decoded.flatMap((each) => each.diagnostics),
    ...checkReferences(snapshot, objects),
    ...mesh.diagnostics,
  ];
  return { mesh, diagnostics: diagnostics.map(formatDiagnostic) };
}

const originText = ({ origin }: CompiledRule) => formatOrigin(origin);

describe("the photo example's mesh", () => {
  let example: ReturnType<typeof compileExample>;
  let policies: readonly WorkloadPolicy[];
  before(() => {
    example = compileExample();
    policies = [...example.mesh.policies.values()];
  });

  test("compiles with no diagnostic", () => {
    assert.deepEqual(example.diagnostics, []);
    assert.deepEqual(policies.map(({ workload }) => workload).sort(), [
      "datastore-ns/datastore",
      "datastore-ns/datastore-replica",
      "photo-ns/intruder",
      "photo-ns/photo-backend",
      "photo-ns/photo-frontend",
    ]);
  });

  test("takes only mutual TLS, and denies what no policy allows, everywhere", () => {
    const inbound = policies.flatMap((policy) => policy.inbound);
    assert.equal(inbound.length, 5);
    for (const { mtls, name } of inbound) assert.equal(mtls, "STRICT", name);
    const rules = policies.map(({ workload, http, tcp }) => [workload, http.allow?.map(originText), tcp.allow?.map(originText)]);
    assert.deepEqual(Object.fromEntries(rules.map(([workload, ...allow]) => [workload, allow])), {
      "datastore-ns/datastore": [["datastore-ns/backend-uses-datastore[0]"], ["datastore-ns/backend-uses-datastore[0]"]],
      "datastore-ns/datastore-replica": [[], []],
      "photo-ns/intruder": [[], []],
      "photo-ns/photo-backend": [["photo-ns/frontend-reads-photos[0]"], ["photo-ns/frontend-reads-photos[0]"]],
      "photo-ns/photo-frontend": [[], []],
    });
  });

  test("leads from each workload to each service that the matrix tries, at the right port", () => {
    const reached = policies.flatMap(({ workload, outbound }) =>
      outbound.flatMap(({ services }) => services.map(({ service, port }) => `${workload} -> ${service}:${port}`)),
    );
    assert.deepEqual(reached.sort(), [
      "datastore-ns/datastore -> photo-ns/photo-backend:80",
      "datastore-ns/datastore -> photo-ns/photo-frontend:80",
      "photo-ns/intruder -> datastore-ns/datastore:6379",
      "photo-ns/intruder -> photo-ns/photo-backend:80",
      "photo-ns/intruder -> photo-ns/photo-frontend:80",
      "photo-ns/photo-backend -> datastore-ns/datastore-replica:6379",
      "photo-ns/photo-backend -> datastore-ns/datastore:6379",
      "photo-ns/photo-backend -> datastore-ns/datastore:6380",
      "photo-ns/photo-backend -> photo-ns/photo-frontend:80",
      "photo-ns/photo-frontend -> datastore-ns/datastore:6379",
      "photo-ns/photo-frontend -> photo-ns/photo-backend:80",
    ]);
  });

  test("every outbound port leads to one endpoint, which is an inbound port of the workload that its identity names", () => {
    const inbound = new Map(policies.flatMap((policy) => policy.inbound.map(({ port }) => [port, policy.identity])));
    for (const { services } of policies.flatMap((policy) => policy.outbound)) {
      const endpoints = services.flatMap((service) => service.endpoints);
      assert.equal(endpoints.length, 1);
      for (const { port, identity, mtls } of endpoints) assert.deepEqual([identity, mtls], [inbound.get(port), true]);
    }
  });

  test("the impostor's port belongs to the datastore's identity", () => {
    const backend = policies.find(({ workload }) => workload === "photo-ns/photo-backend");
    const replica = backend?.outbound
      .flatMap(({ services }) => services)
      .find(({ service }) => service === "datastore-ns/datastore-replica");
    assert.deepEqual(
      replica?.endpoints.map(({ port, identity }) => [port, identity]),
      [[17443, "spiffe://cluster.local/ns/datastore-ns/sa/datastore"]],
    );
  });

  test("all ports are distinct, in one block, and below those of outgoing connections", () => {
    const ports = policies.flatMap(({ inbound, outbound }) => [
      ...inbound.flatMap(({ port, endpoint }) => [port, ...(endpoint.kind === "tcp" ? [endpoint.port] : [])]),
      ...outbound.flatMap(({ bind }) => (bind.kind === "tcp" ? [bind.port] : [])),
    ]);
    assert.equal(ports.length, 20);
    assert.equal(new Set(ports).size, ports.length);
    for (const port of ports) assert.ok(port >= 17_100 && port < 17_600, String(port));
  });

  test("each application listens where its proxy's inbound listener leads", () => {
    for (const [name, workload] of [
      ["photo-frontend", "photo-ns/photo-frontend"],
      ["photo-backend", "photo-ns/photo-backend"],
      ["datastore", "datastore-ns/datastore"],
    ] as const) {
      const usual = /ownPort\((\d+)\)/.exec(readFileSync(join(FOLDER, `${name}.mjs`), "utf8"))?.[1];
      const [first] = example.mesh.policies.get(workload)?.inbound ?? [];
      assert.deepEqual(first?.endpoint, { kind: "tcp", host: "127.0.0.1", port: Number(usual) });
    }
  });

  test("the README's table of ports is the mesh's", () => {
    const readme = readFileSync(join(FOLDER, "README.md"), "utf8");
    for (const policy of policies) {
      const name = policy.workload.split("/")[1] ?? "";
      const rows = readme.split("\n").map((line) => line.split("|").map((cell) => cell.trim()));
      const numbers = (text: string | undefined) => (text?.match(/\b17\d{3}\b/g) ?? []).map(Number);
      const [, , application, inbound, outbound] = rows.find(([, first]) => first === name) ?? [];
      const tcpPorts = (endpoints: readonly Endpoint[]) => endpoints.flatMap((each) => (each.kind === "tcp" ? [each.port] : []));
      assert.deepEqual(numbers(application), tcpPorts(policy.inbound.map(({ endpoint }) => endpoint)), name);
      assert.deepEqual(
        numbers(inbound),
        policy.inbound.map(({ port }) => port),
        name,
      );
      assert.deepEqual(numbers(outbound), tcpPorts(policy.outbound.map(({ bind }) => bind)), name);
      for (const { services, bind } of policy.outbound) {
        const leadsTo = services.map(({ service }) => service.split("/")[1]).join(" ");
        assert.ok(bind.kind === "tcp" && outbound?.includes(`${bind.port} ${leadsTo}`), `${name}: ${leadsTo}`);
      }
    }
  });
});
