import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type BootstrapOptions, renderBootstrap } from "./bootstrap.ts";

const OPTIONS: BootstrapOptions = {
  node: { id: "sidecar~10.0.0.5~a.b~b.svc.cluster.local", cluster: "a.b", metadata: { NAMESPACE: "b", WORKLOAD_NAME: "a" } },
  controlPlane: { address: "127.0.0.1", port: 15_012, identity: "spiffe://cluster.local/ns/istio-system/sa/garrison" },
  sdsSocket: "/run/agent/sds.sock",
  adminSocket: "/run/agent/admin.sock",
  records: "agent",
  xds: "delta",
};

/** The value at a path of keys and indices; fails where there is none. */
function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>((inner, key) => {
    assert.ok(typeof inner === "object" && inner !== null && Object.hasOwn(inner, key), `nothing at ${key}`);
    return Reflect.get(inner, key);
  }, value);
}

test("the node is passed on as it is", () => {
  assert.deepEqual(at(renderBootstrap(OPTIONS), "node"), OPTIONS.node);
});

test("access logs go to the agent, or where there is none to the control plane itself", () => {
  const addresses = (records: BootstrapOptions["records"]) =>
    (at(renderBootstrap({ ...OPTIONS, records }), "static_resources", "clusters") as { readonly name: string }[]).map((cluster) => [
      cluster.name,
      Object.keys(at(cluster, "load_assignment", "endpoints", 0, "lb_endpoints", 0, "endpoint", "address") as object).join(),
    ]);
  assert.deepEqual(addresses("agent"), [
    ["control-plane", "socket_address"],
    ["sds-grpc", "pipe"],
    ["xds-grpc", "pipe"],
  ]);
  assert.deepEqual(addresses("control-plane"), [
    ["xds-grpc", "socket_address"],
    ["sds-grpc", "pipe"],
  ]);
});

test("the control plane must be exactly the one that is named, by URI", () => {
  const tls = at(renderBootstrap(OPTIONS), "static_resources", "clusters", 0, "transport_socket", "typed_config", "common_tls_context");
  assert.deepEqual(at(tls, "combined_validation_context", "default_validation_context"), {
    match_typed_subject_alt_names: [{ san_type: "URI", matcher: { exact: OPTIONS.controlPlane.identity } }],
  });
  assert.equal(at(tls, "combined_validation_context", "validation_context_sds_secret_config", "name"), "ROOTCA");
  assert.equal(at(tls, "tls_certificate_sds_secret_configs", 0, "name"), "default");
});

for (const [address, type] of [
  ["127.0.0.1", "STATIC"],
  ["::1", "STATIC"],
  ["garrison.istio-system.svc", "STRICT_DNS"],
] as const) {
  test(`the control plane at ${address} is found by ${type}`, () => {
    const rendered = renderBootstrap({ ...OPTIONS, controlPlane: { ...OPTIONS.controlPlane, address } });
    assert.equal(at(rendered, "static_resources", "clusters", 0, "type"), type);
  });
}

test("either form of xDS is asked for", () => {
  const apiType = (xds: "delta" | "sotw") => at(renderBootstrap({ ...OPTIONS, xds }), "dynamic_resources", "ads_config", "api_type");
  assert.equal(apiType("delta"), "DELTA_GRPC");
  assert.equal(apiType("sotw"), "GRPC");
});

test("secrets and the admin interface are on Unix sockets, the latter for its own user only", () => {
  const rendered = renderBootstrap(OPTIONS);
  assert.deepEqual(at(rendered, "admin", "address"), { pipe: { path: "/run/agent/admin.sock", mode: 0o600 } });
  const endpoint = at(rendered, "static_resources", "clusters", 1, "load_assignment", "endpoints", 0, "lb_endpoints", 0, "endpoint");
  assert.deepEqual(at(endpoint, "address"), { pipe: { path: "/run/agent/sds.sock" } });
});

test("the bootstrap needs no protobuf, so that the agent that imports it stays small", () => {
  for (const file of ["bootstrap.ts", "names.ts"])
    assert.doesNotMatch(readFileSync(join(import.meta.dirname, file), "utf8"), /from "(@bufbuild|.*\/gen\/)/);
});
