import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { resourcesToJson } from "../../../test/envoy/resource-json.ts";
import type { OutboundListener, UpstreamService, WorkloadPolicy } from "../../compile/workload-policy.ts";
import { JoinedMap } from "../../core/map-view.ts";
import { type EnvoyResources, renderEnvoy } from "./render.ts";

// === Golden pairs: `GARRISON_UPDATE_GOLDEN=1` writes what is rendered now and removes what has no input ===

const FOLDER = join(import.meta.dirname, "..", "..", "..", "test", "golden", "render");
const UPDATE = process.env.GARRISON_UPDATE_GOLDEN === "1";
const INPUT = ".in.yaml";
const OUTPUT = ".out.json";

function namesWith(ending: string): readonly string[] {
  const files = readdirSync(FOLDER).filter((file) => file.endsWith(ending));
  return files.map((file) => file.slice(0, -ending.length)).sort();
}

function readPolicy(name: string): WorkloadPolicy {
  return parse(readFileSync(join(FOLDER, name + INPUT), "utf8")) as WorkloadPolicy;
}

function update(): void {
  for (const name of namesWith(OUTPUT)) rmSync(join(FOLDER, name + OUTPUT));
  for (const name of namesWith(INPUT))
    writeFileSync(join(FOLDER, name + OUTPUT), `${JSON.stringify(resourcesToJson(renderEnvoy(readPolicy(name))), undefined, 2)}\n`);
}

if (UPDATE) update();

test("every golden input has its output, and every output its input", () => {
  assert.deepEqual(namesWith(OUTPUT), namesWith(INPUT));
});

for (const name of namesWith(INPUT)) {
  test(`the policy \`${name}\` is rendered as its golden file says`, () => {
    const expected: unknown = JSON.parse(readFileSync(join(FOLDER, name + OUTPUT), "utf8"));
    assert.deepEqual(resourcesToJson(renderEnvoy(readPolicy(name))), expected);
  });
}

// === What holds for all of them ===

const LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener";
const CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
const FILTER = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

function bodies(resources: EnvoyResources, typeUrl: string): readonly Uint8Array[] {
  return [...(resources.get(typeUrl)?.values() ?? [])].map(({ body }) => body);
}

test("equal policies give equal bytes", () => {
  for (const name of namesWith(INPUT)) assert.deepEqual(renderEnvoy(readPolicy(name)), renderEnvoy(readPolicy(name)));
});

test("every resource is filed under its own name and type", () => {
  for (const [typeUrl, resources] of renderEnvoy(readPolicy("outbound"))) {
    for (const [name, resource] of resources) assert.deepEqual([resource.name, resource.typeUrl], [name, typeUrl]);
  }
});

test("a change of policy changes filters only: no listener, no cluster, no endpoint", () => {
  const before = readPolicy("modes");
  const { http, tcp } = readPolicy("policies");
  const [old, now] = [renderEnvoy(before), renderEnvoy({ ...before, http, tcp })];
  for (const typeUrl of [LISTENER, CLUSTER, ENDPOINTS]) assert.deepEqual(bodies(now, typeUrl), bodies(old, typeUrl));
  assert.notDeepEqual(bodies(now, FILTER), bodies(old, FILTER));
});

test("a changed endpoint of a known identity changes endpoints only", () => {
  const before = readPolicy("outbound");
  const move = (service: UpstreamService): UpstreamService => ({
    ...service,
    endpoints: service.endpoints.map((endpoint) => ({ ...endpoint, port: endpoint.port + 1 })),
  });
  const after = {
    ...before,
    outbound: before.outbound.map((listener: OutboundListener) => ({ ...listener, services: listener.services.map(move) })),
  };
  const [old, now] = [renderEnvoy(before), renderEnvoy(after)];
  for (const typeUrl of [LISTENER, CLUSTER, FILTER]) assert.deepEqual(bodies(now, typeUrl), bodies(old, typeUrl));
  assert.notDeepEqual(bodies(now, ENDPOINTS), bodies(old, ENDPOINTS));
});

test("an endpoint that comes renders no listener, of captured traffic either: their map stays the same object, and is one for all that see the same", () => {
  const before = readPolicy("captured");
  const more = (service: UpstreamService): UpstreamService => ({
    ...service,
    endpoints: [...service.endpoints, ...service.endpoints.slice(0, 1).map((endpoint) => ({ ...endpoint, address: "10.9.9.9" }))],
  });
  assert.ok(before.capture);
  const services = before.capture.services.map(({ addresses, upstream }) => ({ addresses: [...addresses], upstream: more(upstream) }));
  const after = { ...before, capture: { ...before.capture, services } };
  const other = { ...after, workload: `${before.workload}-2`, inbound: [] };
  const own = {};
  const [old, now, twin] = [renderEnvoy(before, own), renderEnvoy(after, own), renderEnvoy(other, {})];
  assert.notDeepEqual(bodies(now, ENDPOINTS), bodies(old, ENDPOINTS));
  for (const typeUrl of [LISTENER, FILTER]) assert.equal(now.get(typeUrl), old.get(typeUrl));
  const sharedOf = (resources: EnvoyResources) => {
    const listeners = resources.get(LISTENER);
    assert.ok(listeners instanceof JoinedMap);
    return listeners.shared;
  };
  assert.equal(sharedOf(twin), sharedOf(now));
  assert.ok(sharedOf(now).size > 0);
});

test("only the filters that a listener asks for are served, so that a proxy can ever run all that it is served", () => {
  const policy = readPolicy("modes");
  const namesFor = (...protocols: readonly string[]) => {
    const inbound = policy.inbound.filter(({ protocol }) => protocols.includes(protocol));
    return [
      ...(renderEnvoy({ ...policy, inbound })
        .get(FILTER)
        ?.keys() ?? []),
    ].map((name) => name.split("/").slice(2).join("/"));
  };
  const ofHttp = ["audit", "deny", "allow", "sanitize", "authn", "custom-0", "custom-1", "custom-2", "custom-3"];
  const ofTcp = ["audit", "deny", "dry-run", "allow", "custom-0", "authorizer-0", "custom-1", "authorizer-1"];
  assert.deepEqual(
    namesFor("http"),
    ofHttp.map((name) => `http/${name}`),
  );
  assert.deepEqual(
    namesFor("http2"),
    ofHttp.map((name) => `http/${name}`),
  );
  assert.deepEqual(
    namesFor("tcp"),
    ofTcp.map((name) => `tcp/${name}`),
  );
  assert.deepEqual(namesFor(), []);
});

test("a service that several listeners reach is one cluster", () => {
  assert.equal(renderEnvoy(readPolicy("outbound")).get(CLUSTER)?.size, 3);
});

test("two listeners of one name are refused instead of one of them being lost", () => {
  const policy = readPolicy("modes");
  const inbound = policy.inbound.map((listener) => ({ ...listener, name: "inbound_1" }));
  assert.throws(() => renderEnvoy({ ...policy, inbound }), /have one name/);
});

test("without a trust domain nothing is rendered, because a list of no names would accept every name", () => {
  assert.throws(() => renderEnvoy({ ...readPolicy("modes"), trustDomains: [] }), /no trust domain/);
});
