import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import type { Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, test } from "node:test";
import { createRegistry, type DescMessage, fromJson, type JsonObject, toBinary } from "@bufbuild/protobuf";
import { Server as GrpcServer, ServerCredentials } from "@grpc/grpc-js";
import { AppError } from "../../src/core/error.ts";
import { silentLogger } from "../../src/core/logger.ts";
import { ClusterSchema } from "../../src/gen/envoy/config/cluster/v3/cluster_pb.js";
import { TypedExtensionConfigSchema } from "../../src/gen/envoy/config/core/v3/extension_pb.js";
import { ClusterLoadAssignmentSchema } from "../../src/gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "../../src/gen/envoy/config/listener/v3/listener_pb.js";
import { RouteConfigurationSchema } from "../../src/gen/envoy/config/route/v3/route_pb.js";
import { RBACSchema } from "../../src/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { RouterSchema } from "../../src/gen/envoy/extensions/filters/http/router/v3/router_pb.js";
import { HttpConnectionManagerSchema } from "../../src/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { ResourceCache, resource } from "../../src/xds/cache.ts";
import type { TypeStatus, XdsConnection, XdsEvent } from "../../src/xds/connection.ts";
import type { Resource, ResourceSet } from "../../src/xds/resource.ts";
import { ADS_SERVER_OPTIONS, type AdsService, createAdsService } from "../../src/xds/service.ts";
import { CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTE } from "../../src/xds/types.ts";
import { pickPort } from "../fakes/ports.ts";
import { findEnvoy, skipWithoutEnvoy } from "./find-envoy.ts";

const PATIENCE_MS = 30_000;
const ADS = { ads: {}, resource_api_version: "V3" };
const RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";
const registry = createRegistry(HttpConnectionManagerSchema, RBACSchema, RouterSchema);

const closers: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

// === what Envoy is to run ===

interface State {
  readonly port: number;
  readonly upstream: number;
  /** Seen as the `server` header of responses. */
  readonly serverName?: string;
  readonly connectTimeout?: string;
  /** Paths that the policies `one` and `two` deny; a malformed pattern is what Envoy refuses. */
  readonly one?: string;
  readonly two?: string;
  /** A further listener's address; one that is no address is what Envoy refuses. */
  readonly secondAddress?: string;
  /** The path that is answered by the routes themselves. */
  readonly direct?: string;
}

const socket = (address: string, port: number): JsonObject => ({ socket_address: { address, port_value: port } });

function listener(name: string, address: JsonObject, serverName: string): JsonObject {
  const discovered = (filter: string): JsonObject => ({ name: filter, config_discovery: { config_source: ADS, type_urls: [RBAC] } });
  const manager = {
    "@type": `type.googleapis.com/${HttpConnectionManagerSchema.typeName}`,
    stat_prefix: name,
    server_name: serverName,
    rds: { route_config_name: "routes", config_source: ADS },
    http_filters: [
      discovered("one"),
      discovered("two"),
      { name: "router", typed_config: { "@type": `type.googleapis.com/${RouterSchema.typeName}` } },
    ],
  };
  return { name, address, filter_chains: [{ filters: [{ name: "http", typed_config: manager }] }] };
}

function denying(name: string, regex: string): JsonObject {
  const permissions = [{ url_path: { path: { safe_regex: { regex } } } }];
  const rules = { action: "DENY", policies: { deny: { permissions, principals: [{ any: true }] } } };
  return { name, typed_config: { "@type": RBAC, rules } };
}

function routes(direct: string): JsonObject {
  const own = { match: { path: direct }, direct_response: { status: 200, body: { inline_string: "direct" } } };
  return {
    name: "routes",
    virtual_hosts: [{ name: "all", domains: ["*"], routes: [own, { match: { prefix: "/" }, route: { cluster: "app" } }] }],
  };
}

function render(state: State): ResourceSet {
  const {
    port,
    upstream,
    serverName = "first",
    connectTimeout = "1s",
    one = "/one",
    two = "/two",
    secondAddress,
    direct = "/direct",
  } = state;
  const encode = (schema: DescMessage, messages: readonly JsonObject[]): ReadonlyMap<string, Resource> =>
    new Map(
      messages.map((message) => {
        const name = String(message.name ?? message.cluster_name);
        return [name, resource(name, toBinary(schema, fromJson(schema, message, { registry })))];
      }),
    );
  const cluster = { name: "app", type: "EDS", connect_timeout: connectTimeout, eds_cluster_config: { eds_config: ADS } };
  const endpoints = { cluster_name: "app", endpoints: [{ lb_endpoints: [{ endpoint: { address: socket("127.0.0.1", upstream) } }] }] };
  const second = secondAddress === undefined ? [] : [listener("second", socket(secondAddress, 1), serverName)];
  return new Map([
    [CLUSTER, encode(ClusterSchema, [cluster])],
    [ENDPOINTS, encode(ClusterLoadAssignmentSchema, [endpoints])],
    [LISTENER, encode(ListenerSchema, [listener("main", socket("127.0.0.1", port), serverName), ...second])],
    [ROUTE, encode(RouteConfigurationSchema, [routes(direct)])],
    [EXTENSION, encode(TypedExtensionConfigSchema, [denying("one", one), denying("two", two)])],
  ]);
}

// === who runs it ===

async function listen(server: Server, port = 0): Promise<number> {
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const bound = server.address();
  assert.ok(typeof bound === "object" && bound !== null);
  return bound.port;
}

interface ControlPlane {
  readonly ads: AdsService;
  readonly port: number;
  readonly events: XdsEvent[];
  stop(): void;
}

async function serve(cache: ResourceCache, port = 0): Promise<ControlPlane> {
  const ads = createAdsService({ cache, logger: silentLogger, admit: (_peer, node) => ({ key: node.id }) });
  const server = new GrpcServer(ADS_SERVER_OPTIONS);
  server.addService(ads.definition, ads.implementation);
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, value) =>
      error === null ? resolve(value) : reject(error),
    );
  });
  const events: XdsEvent[] = [];
  ads.onEvent((event) => events.push(event));
  const stop = (): void => {
    ads.close();
    server.forceShutdown();
  };
  closers.push(stop);
  return { ads, port: bound, events, stop };
}

function startEnvoy(variant: "delta" | "sotw", port: number): void {
  const folder = mkdtempSync(join(tmpdir(), "xds-"));
  const http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
  const backOff = { base_interval: "0.1s", max_interval: "0.5s" };
  const service = { envoy_grpc: { cluster_name: "xds-grpc", retry_policy: { retry_back_off: backOff } } };
  const bootstrap = {
    node: { id: "n", cluster: "c" },
    dynamic_resources: {
      ads_config: { api_type: variant === "delta" ? "DELTA_GRPC" : "GRPC", transport_api_version: "V3", grpc_services: [service] },
      cds_config: ADS,
      lds_config: ADS,
    },
    static_resources: {
      clusters: [
        {
          name: "xds-grpc",
          type: "STATIC",
          load_assignment: {
            cluster_name: "xds-grpc",
            endpoints: [{ lb_endpoints: [{ endpoint: { address: socket("127.0.0.1", port) } }] }],
          },
          typed_extension_protocol_options: {
            [http2]: { "@type": `type.googleapis.com/${http2}`, explicit_http_config: { http2_protocol_options: {} } },
          },
        },
      ],
    },
  };
  const file = join(folder, "bootstrap.json");
  writeFileSync(file, JSON.stringify(bootstrap));
  const envoy = spawn(findEnvoy() ?? "envoy", ["-c", file, "--disable-hot-restart", "--concurrency", "1", "--log-level", "off"], {
    stdio: "ignore",
  });
  closers.push(async () => {
    envoy.kill("SIGKILL");
    if (envoy.exitCode === null && envoy.signalCode === null) await once(envoy, "exit");
    rmSync(folder, { recursive: true });
  });
}

interface Seen {
  readonly status: number | undefined;
  readonly body: string;
  readonly server: string | undefined;
}

async function get(port: number, path: string): Promise<Seen> {
  const [response] = await once(request({ host: "127.0.0.1", port, path, agent: false }).end(), "response");
  return { status: response.statusCode, body: await text(response), server: response.headers.server };
}

async function eventually(holds: () => boolean): Promise<void> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  while (!holds()) {
    assert.equal(signal.aborted, false, `never came true: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

interface Mesh extends ControlPlane {
  readonly cache: ResourceCache;
  readonly base: State;
  /** Replaces what Envoy is to run, and says what became of it. */
  change(state: Partial<State>): Promise<string>;
  see(path: string): Promise<Seen>;
}

/** With an Envoy that runs the base state. */
async function start(variant: "delta" | "sotw"): Promise<Mesh> {
  const app = createServer((incoming, response) => response.end(`app ${incoming.url}`));
  closers.push(() => void app.close());
  const base: State = { port: await pickPort(), upstream: await listen(app) };
  const cache = new ResourceCache();
  cache.set("n", render(base));
  const plane = await serve(cache);
  startEnvoy(variant, plane.port);
  assert.equal(await plane.ads.whenAcked("n", PATIENCE_MS), "acked");
  const change = (state: Partial<State>): Promise<string> => {
    cache.set("n", render({ ...base, ...state }));
    return plane.ads.whenAcked("n", PATIENCE_MS);
  };
  return { ...plane, cache, base, change, see: (path) => get(base.port, path) };
}

function connectionOf(ads: AdsService): XdsConnection {
  const [connection] = ads.connections();
  assert.ok(connection);
  return connection;
}

function statusOf(ads: AdsService, typeUrl: string): TypeStatus {
  const status = connectionOf(ads).types.find((type) => type.typeUrl === typeUrl);
  assert.ok(status);
  return status;
}

const skip = skipWithoutEnvoy();

for (const variant of ["delta", "sotw"] as const) {
  test(`a real Envoy, ${variant}: takes what it is given, and of a change what changed`, { skip }, async () => {
    const { ads, events, change, see } = await start(variant);
    assert.equal(connectionOf(ads).variant, variant);
    assert.match(connectionOf(ads).userAgent, /^envoy \d+\.\d+\.\d+$/);
    assert.deepEqual(await see("/hello"), { status: 200, body: "app /hello", server: "first" });
    assert.equal((await see("/one")).status, 403);

    events.length = 0;
    assert.equal(await change({ one: "/other" }), "acked");
    const answers = events.map((event) => (event.kind === "ack" ? event.typeUrl : event.kind));
    assert.deepEqual(answers, [EXTENSION]);
    assert.deepEqual([(await see("/one")).status, (await see("/other")).status], [200, 403]);
  });

  test(`a real Envoy, ${variant}: warms a changed listener and a changed cluster though what they refer to stays`, { skip }, async () => {
    const { change, see } = await start(variant);
    assert.equal(await change({ serverName: "second" }), "acked");
    assert.deepEqual(await see("/hello"), { status: 200, body: "app /hello", server: "second" });
    assert.equal((await see("/one")).status, 403);
    assert.equal(await change({ serverName: "second", connectTimeout: "2s" }), "acked");
    assert.equal((await see("/hello")).status, 200);
  });

  test(`a real Envoy, ${variant}: a broken policy is refused alone, and no later answer makes it good`, { skip }, async () => {
    const { ads, change, see } = await start(variant);
    const first = connectionOf(ads);
    assert.equal(await change({ one: "/new", two: "(", direct: "/moved" }), "rejected");
    assert.deepEqual(first.behind, [{ typeUrl: EXTENSION, name: "two" }]);
    assert.deepEqual(statusOf(ads, EXTENSION).nacked?.names, ["two"]);
    assert.match(statusOf(ads, EXTENSION).nacked?.message ?? "", /missing \)/);
    const [kept, fresh, moved] = [await see("/two"), await see("/new"), await see("/moved")];
    assert.deepEqual([kept.status, fresh.status, moved.body], [403, 403, "direct"]);

    ads.disconnect("n", new AppError("unavailable", "again"));
    await eventually(() => ads.connections().some((connection) => connection !== first && connection.types.length === 5));
    assert.equal(await ads.whenAcked("n", PATIENCE_MS), "rejected");
    assert.deepEqual(connectionOf(ads).behind, [{ typeUrl: EXTENSION, name: "two" }]);

    // Envoy takes no listener while it holds a policy that it refused; it is offered again once that is repaired.
    assert.equal(await change({ one: "/new", two: "(", direct: "/moved", serverName: "second" }), "rejected");
    assert.deepEqual(statusOf(ads, LISTENER).rejected, ["main"]);
    assert.equal(await change({ one: "/new", two: "/repaired", direct: "/moved", serverName: "second" }), "acked");
    assert.deepEqual([(await see("/repaired")).status, (await see("/hello")).server], [403, "second"]);
  });

  test(`a real Envoy, ${variant}: a broken listener does not hold up the good one beside it`, { skip }, async () => {
    const { ads, change, see } = await start(variant);
    assert.equal(await change({ serverName: "second", secondAddress: "nowhere" }), "rejected");
    assert.deepEqual(statusOf(ads, LISTENER).rejected, variant === "delta" ? ["second"] : ["main", "second"]);
    assert.match(statusOf(ads, LISTENER).nacked?.message ?? "", /second|nowhere/);
    assert.equal((await see("/hello")).server, "second");
    assert.equal(await change({ serverName: "second" }), "acked");
  });

  test(`a real Envoy, ${variant}: serves on while the control plane is away, and is then sent nothing that it has`, { skip }, async () => {
    const { cache, base, port, stop, see } = await start(variant);
    stop();
    assert.deepEqual(await see("/hello"), { status: 200, body: "app /hello", server: "first" });
    const { ads } = await serve(cache, port);
    await eventually(() => ads.connections()[0]?.types.length === 5);
    assert.equal(await ads.whenAcked("n", PATIENCE_MS), "acked");
    const sent = connectionOf(ads).types.flatMap((type) => (type.sent === undefined ? [] : type.typeUrl));
    // State of the world cannot say which of the named resources a client has.
    assert.deepEqual(sent.sort(), variant === "delta" ? [] : [ENDPOINTS, EXTENSION, ROUTE].sort());
    cache.set("n", render({ ...base, serverName: "second", connectTimeout: "2s" }));
    assert.equal(await ads.whenAcked("n", PATIENCE_MS), "acked");
    assert.equal((await see("/hello")).server, "second");
  });
}
