/** A real Envoy with one listener that a file describes, which writes an access log; and how to call it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type Agent, createServer, type IncomingMessage, request } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { TestServer } from "../fixture/grpc-server.ts";
import { REPORTER_NODE } from "../fixture/reporter.ts";
import { findEnvoy } from "./find-envoy.ts";

const TYPE = "type.googleapis.com/envoy.extensions";

/** A filter or the like, with its type. */
const typed = (name: string, type: string, config: object = {}) => ({ name, typed_config: { "@type": `${TYPE}.${type}`, ...config } });

/** One rule that matches paths with this beginning. */
function pathRule(action: "ALLOW" | "DENY", policy: string, prefix: string) {
  const permissions = [{ url_path: { path: { prefix } } }];
  const policies = { [`ns[photo-ns]-policy[${policy}]-rule[0]`]: { permissions, principals: [{ any: true }] } };
  return typed("envoy.filters.http.rbac", "filters.http.rbac.v3.RBAC", { rules: { action, policies } });
}

type Address = { readonly pipe: { readonly path: string } } | ReturnType<typeof at>;

function at(port: number) {
  return { socket_address: { address: "127.0.0.1", port_value: port } };
}

function cluster(name: string, address: Address, more: object = {}) {
  const endpoints = [{ lb_endpoints: [{ endpoint: { address } }] }];
  return { name, type: "STATIC", connect_timeout: "5s", load_assignment: { cluster_name: name, endpoints }, ...more };
}

const HTTP2 = {
  typed_extension_protocol_options: {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
      "@type": `${TYPE}.upstreams.http.v3.HttpProtocolOptions`,
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
};

/** Towards an agent's socket. */
export function agentCluster(path: string) {
  return cluster("xds-grpc", { pipe: { path } }, HTTP2);
}

/** Towards the intake: HTTP/2 over mutual TLS. */
export function intakeCluster({ address: intake, material }: TestServer) {
  const inline = (text: string) => ({ inline_string: text });
  const common_tls_context = {
    tls_certificates: [{ certificate_chain: inline(material.chain), private_key: inline(material.key) }],
    validation_context: { trusted_ca: inline(material.roots) },
  };
  return cluster("xds-grpc", at(Number(intake.split(":")[1])), {
    ...HTTP2,
    transport_socket: typed("envoy.transport_sockets.tls", "transport_sockets.tls.v3.UpstreamTlsContext", { common_tls_context }),
  });
}

export function staticBootstrap(logCluster: object, applicationPort: number, adminSocket: string) {
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
      listeners: [{ name: "inbound_8080", address: at(0), filter_chains: [{ filters: [manager] }] }],
      clusters: [cluster("application", at(applicationPort)), logCluster],
    },
  };
}

export async function get(
  options: { readonly socketPath: string } | { readonly port: number; readonly agent: Agent },
  path: string,
  method = "GET",
): Promise<string> {
  const [response] = (await once(request({ host: "127.0.0.1", ...options, path, method }).end(), "response")) as [IncomingMessage];
  return (await Array.fromAsync(response as AsyncIterable<Buffer>)).join("");
}

/** The port of Envoy's only listener, once it serves. */
export async function listenerPort(envoy: ChildProcess, adminSocket: string): Promise<number> {
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

export async function startApplication(t: TestContext): Promise<number> {
  const application = createServer((_, response) => response.end("hello"));
  t.after(() => {
    application.closeAllConnections();
    application.close();
  });
  await once(application.listen(0, "127.0.0.1"), "listening");
  return (application.address() as AddressInfo).port;
}

export function startEnvoy(t: TestContext, folder: string, config: object): ChildProcess {
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
