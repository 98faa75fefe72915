import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { parse } from "yaml";
import type { WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import { BootstrapSchema } from "../../src/gen/envoy/config/bootstrap/v3/bootstrap_pb.js";
import { type Cluster, Cluster_DiscoveryType, ClusterSchema } from "../../src/gen/envoy/config/cluster/v3/cluster_pb.js";
import { ApiConfigSource_ApiType, ApiVersion } from "../../src/gen/envoy/config/core/v3/config_source_pb.js";
import { TypedExtensionConfigSchema } from "../../src/gen/envoy/config/core/v3/extension_pb.js";
import { type Listener, ListenerSchema } from "../../src/gen/envoy/config/listener/v3/listener_pb.js";
import { RouterSchema } from "../../src/gen/envoy/extensions/filters/http/router/v3/router_pb.js";
import { HttpConnectionManagerSchema } from "../../src/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { namedConfig } from "../../src/render/envoy/any.ts";
import { renderBootstrap } from "../../src/render/envoy/bootstrap.ts";
import { type EnvoyResources, renderEnvoy } from "../../src/render/envoy/render.ts";
import { findEnvoy, skipWithoutEnvoy } from "./find-envoy.ts";
import { CONTROL_PLANE } from "./scenario.ts";

const skip = skipWithoutEnvoy();
const GOLDEN = join(import.meta.dirname, "..", "golden", "render");
let folder = "";

before(() => {
  folder = mkdtempSync(join(tmpdir(), "envoy-"));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** What Envoy says of a configuration; rejects where it refuses it. */
async function validate(file: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder, file);
  writeFileSync(path, content);
  const { stdout, stderr } = await promisify(execFile)(findEnvoy() ?? "envoy", [
    "--mode",
    "validate",
    "-c",
    path,
    "--base-id-path",
    join(folder, "id"),
    "--disable-hot-restart",
  ]);
  return stdout + stderr;
}

function messages<T>(resources: EnvoyResources, type: string, decode: (bytes: Uint8Array) => T): readonly T[] {
  return [...(resources.get(`type.googleapis.com/${type}`)?.values() ?? [])].map(({ body }) => decode(body));
}

/** A listener that holds the filters themselves, where the rendered ones wait for them to be discovered. */
function filterListener(resources: EnvoyResources): Listener {
  const filters = messages(resources, TypedExtensionConfigSchema.typeName, (bytes) =>
    fromBinary(TypedExtensionConfigSchema, bytes),
  ).flatMap(({ name, typedConfig }) =>
    typedConfig === undefined ? [] : [{ name, configType: { case: "typedConfig", value: typedConfig } as const }],
  );
  const [http, tcp] = ["/http/", "/tcp/"].map((part) => filters.filter(({ name }) => name.includes(part)));
  const manager = namedConfig("envoy.filters.network.http_connection_manager", HttpConnectionManagerSchema, {
    statPrefix: "http",
    routeSpecifier: { case: "routeConfig", value: {} },
    httpFilters: [...(http ?? []), namedConfig("envoy.filters.http.router", RouterSchema, {})],
  });
  const portSpecifier = { case: "portValue", value: 0 } as const;
  const address = { address: { case: "socketAddress", value: { address: "127.0.0.1", portSpecifier } } } as const;
  return create(ListenerSchema, { name: "filters", address, filterChains: [{ filters: [...(tcp ?? []), manager] }] });
}

function staticCluster(name: string): Cluster {
  return create(ClusterSchema, { name, clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.STATIC } });
}

/** All that is rendered for a policy as one static configuration. */
function toBootstrap(resources: EnvoyResources): Uint8Array {
  const grpcServices = [{ targetSpecifier: { case: "envoyGrpc", value: { clusterName: "xds-grpc" } } as const }];
  return toBinary(
    BootstrapSchema,
    create(BootstrapSchema, {
      node: { id: "validate", cluster: "validate" },
      dynamicResources: { adsConfig: { apiType: ApiConfigSource_ApiType.GRPC, transportApiVersion: ApiVersion.V3, grpcServices } },
      staticResources: {
        clusters: [
          staticCluster("xds-grpc"),
          staticCluster("sds-grpc"),
          ...messages(resources, ClusterSchema.typeName, (bytes) => fromBinary(ClusterSchema, bytes)),
        ],
        listeners: [
          filterListener(resources),
          ...messages(resources, ListenerSchema.typeName, (bytes) => fromBinary(ListenerSchema, bytes)),
        ],
      },
    }),
  );
}

for (const file of readdirSync(GOLDEN).filter((name) => name.endsWith(".in.yaml"))) {
  test(`Envoy takes everything that is rendered for ${file}`, { skip }, async () => {
    const policy = parse(readFileSync(join(GOLDEN, file), "utf8")) as WorkloadPolicy;
    const output = await validate(`${file}.pb`, toBootstrap(renderEnvoy(policy)));
    assert.match(output, /configuration .* OK/);
  });
}

for (const [xds, address] of [
  ["delta", "127.0.0.1"],
  ["sotw", "garrison.istio-system.svc"],
] as const) {
  test(`Envoy takes the bootstrap for ${xds} xDS from ${address}`, { skip }, async () => {
    const bootstrap = renderBootstrap({
      node: { id: "sidecar~127.0.0.1~a.b~b.svc.cluster.local", cluster: "a.b", metadata: { NAMESPACE: "b" } },
      controlPlane: { address, port: 15_012, identity: CONTROL_PLANE },
      sdsSocket: join(folder, "sds.sock"),
      adminSocket: join(folder, "admin.sock"),
      records: "agent",
      xds,
    });
    const output = await validate(`${xds}.json`, JSON.stringify(bootstrap));
    assert.match(output, /configuration .* OK/);
    assert.doesNotMatch(output, /\[(warning|error)\]/);
  });
}
