/** A real Envoy reports to the intake, by its own access log service client. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { Agent, createServer, type IncomingMessage, request } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { createAlsIntake } from "../../src/audit/als-intake.ts";
import type { AuditRecord } from "../../src/audit/record.ts";
import { AccessLogService } from "../../src/gen/envoy/service/accesslog/v3/als_pb.js";
import { serviceDefinition } from "../../src/rpc/service.ts";
import { collect, openTestStore, temporaryFolder } from "../fixture/audit-store.ts";
import { startGrpcServer, type TestServer } from "../fixture/grpc-server.ts";
import { admitReporter, eventually, REPORTER_IDENTITY, REPORTER_NODE } from "../fixture/reporter.ts";
import { findEnvoy, skipWithoutEnvoy } from "./find-envoy.ts";

const TYPE = "type.googleapis.com/envoy.extensions";

/** A filter or the like, with its type. */
const typed = (name: string, type: string, config: object = {}) => ({ name, typed_config: { "@type": `${TYPE}.${type}`, ...config } });

/** One rule that matches paths with this beginning. */
function pathRule(action: "ALLOW" | "DENY", policy: string, prefix: string) {
  const permissions = [{ url_path: { path: { prefix } } }];
  const policies = { [`ns[photo-ns]-policy[${policy}]-rule[0]`]: { permissions, principals: [{ any: true }] } };
  return typed("envoy.filters.http.rbac", "filters.http.rbac.v3.RBAC", { rules: { action, policies } });
}

function address(port: number) {
  return { socket_address: { address: "127.0.0.1", port_value: port } };
}

function cluster(name: string, port: number, more: object = {}) {
  const endpoints = [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }];
  return { name, type: "STATIC", connect_timeout: "5s", load_assignment: { cluster_name: name, endpoints }, ...more };
}

/** Towards the intake: HTTP/2 over mutual TLS. */
function intakeCluster({ address: intake, material }: TestServer) {
  const inline = (text: string) => ({ inline_string: text });
  const common_tls_context = {
    tls_certificates: [{ certificate_chain: inline(material.chain), private_key: inline(material.key) }],
    validation_context: { trusted_ca: inline(material.roots) },
  };
  return cluster("xds-grpc", Number(intake.split(":")[1]), {
    typed_extension_protocol_options: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": `${TYPE}.upstreams.http.v3.HttpProtocolOptions`,
        explicit_http_config: { http2_protocol_options: {} },
      },
    },
    transport_socket: typed("envoy.transport_sockets.tls", "transport_sockets.tls.v3.UpstreamTlsContext", { common_tls_context }),
  });
}

function bootstrap(server: TestServer, applicationPort: number, adminSocket: string) {
  const common_config = {
    log_name: "inbound_8080",
    transport_api_version: "V3",
    buffer_flush_interval: "0.1s",
    grpc_service: { envoy_grpc: { cluster_name: "xds-grpc" } },
  };
  const manager = typed(
    "envoy.filters.network.http_connection_manager",
    "filters.network.http_connection_manager.v3.HttpConnectionManager",
    {
      stat_prefix: "inbound",
      route_config: {
        virtual_hosts: [{ name: "all", domains: ["*"], routes: [{ match: { prefix: "/" }, route: { cluster: "application" } }] }],
      },
      http_filters: [
        pathRule("DENY", "closed", "/admin"),
        pathRule("ALLOW", "open", "/photos"),
        typed("envoy.filters.http.router", "filters.http.router.v3.Router"),
      ],
      access_log: [typed("envoy.access_loggers.http_grpc", "access_loggers.grpc.v3.HttpGrpcAccessLogConfig", { common_config })],
    },
  );
  return {
    node: { ...REPORTER_NODE, cluster: "photo-backend.photo-ns" },
    admin: { address: { pipe: { path: adminSocket } } },
    static_resources: {
      listeners: [{ name: "inbound_8080", address: address(0), filter_chains: [{ filters: [manager] }] }],
      clusters: [cluster("application", applicationPort), intakeCluster(server)],
    },
  };
}

async function get(
  options: { readonly socketPath: string } | { readonly port: number; readonly agent: Agent },
  path: string,
  method = "GET",
): Promise<string> {
  const [response] = (await once(request({ host: "127.0.0.1", ...options, path, method }).end(), "response")) as [IncomingMessage];
  return (await Array.fromAsync(response as AsyncIterable<Buffer>)).join("");
}

/** The port of Envoy's only listener, once it serves. */
async function listenerPort(envoy: ChildProcess, adminSocket: string): Promise<number> {
  for (let attempt = 0; attempt < 500 && envoy.exitCode === null; attempt++) {
    const text = await get({ socketPath: adminSocket }, "/listeners?format=json").catch(() => "{}");
    const { listener_statuses: [status] = [] } = JSON.parse(text) as {
      listener_statuses?: { local_address: { socket_address: { port_value: number } } }[];
    };
    if (status !== undefined) return status.local_address.socket_address.port_value;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("Envoy does not serve");
}

async function startApplication(t: TestContext): Promise<number> {
  const application = createServer((_, response) => response.end("hello"));
  t.after(() => {
    application.closeAllConnections();
    application.close();
  });
  await once(application.listen(0, "127.0.0.1"), "listening");
  return (application.address() as AddressInfo).port;
}

function startEnvoy(t: TestContext, folder: string, config: object): ChildProcess {
  const file = join(folder, "bootstrap.json");
  writeFileSync(file, JSON.stringify(config));
  const envoy = spawn(findEnvoy() ?? "", ["-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  t.after(async () => {
    envoy.kill("SIGKILL");
    if (envoy.exitCode === null && envoy.signalCode === null) await once(envoy, "exit");
  });
  return envoy;
}

test("a real Envoy's requests are recorded, each once, with the rule that decided it", {
  skip: skipWithoutEnvoy(),
  timeout: 60_000,
}, async (t) => {
  const { store, clock, logger } = openTestStore(t);
  clock.time = Date.now();
  const admit = async (...asked: Parameters<typeof admitReporter>) => ({
    ...(await admitReporter(...asked)),
    expiresAt: Date.now() + 3_600_000,
  });
  const intake = createAlsIntake({ store, admit, serviceOf: (workload) => workload, clock, logger });
  const server = await startGrpcServer(t, serviceDefinition(AccessLogService), intake.implementation, REPORTER_IDENTITY);
  const folder = temporaryFolder(t);
  const adminSocket = join(folder, "admin.sock");
  const envoy = startEnvoy(t, folder, bootstrap(server, await startApplication(t), adminSocket));
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  const target = { port: await listenerPort(envoy, adminSocket), agent };

  for (let at = 0; at < 50; at++) await get(target, `/photos/${at}?token=secret`);
  await get(target, "/admin", "DELETE");
  await get(target, "/elsewhere");
  await eventually(() => intake.stats().records >= 52);

  const records: AuditRecord[] = await collect(store.query({}), (record) => record);
  const said = ({ method, path, status, effect, origin, workload, service }: AuditRecord) =>
    [method, path, status, effect, origin, workload, service].join(" ");
  const own = "photo-ns/photo-backend photo-ns/photo-backend";
  assert.deepEqual(records.map(said), [
    ...Array.from({ length: 50 }, (_, at) => `GET /photos/${at} 200 allow photo-ns/open[0] ${own}`),
    `DELETE /admin 403 deny photo-ns/closed[0] ${own}`,
    `GET /elsewhere 403 deny default ${own}`,
  ]);
  assert.deepEqual(intake.stats(), { streams: 1, records: 52, rejected: 0 });
  assert.ok(
    records.every(({ time, caller, sourceIp }) => caller === "" && sourceIp === "127.0.0.1" && Math.abs(time - Date.now()) < 60_000),
  );
});
