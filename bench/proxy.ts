/**
 * Requests a second from a client with a certificate, through the embedded proxy (mutual TLS, one ALLOW rule on the
 * caller), to a trivial service; beside it a real Envoy with the same TLS and RBAC in front of the same service.
 * Client, proxy and service are processes of their own. `node bench/proxy.ts [SECONDS]`, with `ENVOY_PATH` or an Envoy
 * in the search path.
 */
import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { silentLogger } from "../src/core/logger.ts";
import { Credentials } from "../src/proxy/credentials.ts";
import { EmbeddedProxy } from "../src/proxy/embedded-proxy.ts";
import type { TlsMaterial } from "../src/rpc/credentials.ts";
import { findEnvoy } from "../test/envoy/find-envoy.ts";
import { FakeCa } from "../test/fakes/fake-ca.ts";
import { pickPort } from "../test/fakes/ports.ts";
import { BACKEND, FRONTEND, fromPrincipal, inboundListener, layers, rule, workloadPolicy } from "../test/fakes/proxy-setup.ts";
import { compare } from "./harness.ts";

const ANSWER = "hello";
const REQUEST = "GET /photos/1 HTTP/1.1\r\nhost: photo-backend\r\nuser-agent: bench\r\naccept: */*\r\n\r\n";

// === The processes ===

interface ProxyTask {
  readonly material: TlsMaterial;
  readonly servicePort: number;
}

function runService(): void {
  const server = createServer((_request, response) => {
    response.writeHead(200, { "content-type": "text/plain", "content-length": ANSWER.length });
    response.end(ANSWER);
  });
  server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
}

function runEmbedded(): void {
  process.once("message", async ({ material, servicePort }: ProxyTask) => {
    const credentials = new Credentials();
    credentials.update(material);
    const proxy = new EmbeddedProxy({ credentials, recorder: { record: () => undefined }, logger: silentLogger });
    const http = layers({ allow: [rule("frontend", fromPrincipal(FRONTEND))] });
    await proxy.apply(workloadPolicy({ inbound: [inboundListener(servicePort)], http }));
    process.send?.(proxy.portOf("inbound"));
  });
}

async function startChild(role: string, task?: ProxyTask): Promise<{ readonly child: ChildProcess; readonly port: number }> {
  const child = fork(import.meta.filename, [role], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  if (task !== undefined) child.send(task);
  const [port] = (await once(child, "message")) as [number];
  return { child, port };
}

// === The peer ===

function envoyConfig(port: number, { material, servicePort }: ProxyTask): object {
  const type = (name: string) => `type.googleapis.com/envoy.extensions.${name}`;
  const inline = (text: string) => ({ inline_string: text });
  const tls = {
    "@type": type("transport_sockets.tls.v3.DownstreamTlsContext"),
    require_client_certificate: true,
    common_tls_context: {
      alpn_protocols: ["h2", "http/1.1"],
      tls_certificates: [{ certificate_chain: inline(material.chain), private_key: inline(material.key) }],
      validation_context: {
        trusted_ca: inline(material.roots),
        match_typed_subject_alt_names: [{ san_type: "URI", matcher: { prefix: "spiffe://cluster.local/" } }],
      },
    },
  };
  const policy = { permissions: [{ any: true }], principals: [{ authenticated: { principal_name: { exact: FRONTEND } } }] };
  const manager = {
    "@type": type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
    stat_prefix: "inbound",
    normalize_path: true,
    forward_client_cert_details: "SANITIZE_SET",
    set_current_client_cert_details: { uri: true },
    route_config: { virtual_hosts: [{ name: "all", domains: ["*"], routes: [{ match: { prefix: "/" }, route: { cluster: "service" } }] }] },
    http_filters: [
      {
        name: "rbac",
        typed_config: { "@type": type("filters.http.rbac.v3.RBAC"), rules: { action: "ALLOW", policies: { frontend: policy } } },
      },
      { name: "router", typed_config: { "@type": type("filters.http.router.v3.Router") } },
    ],
  };
  const address = (at: number) => ({ socket_address: { address: "127.0.0.1", port_value: at } });
  const filterChain = { transport_socket: { name: "tls", typed_config: tls }, filters: [{ name: "http", typed_config: manager }] };
  const endpoints = [{ lb_endpoints: [{ endpoint: { address: address(servicePort) } }] }];
  return {
    static_resources: {
      listeners: [{ name: "inbound", address: address(port), filter_chains: [filterChain] }],
      clusters: [{ name: "service", type: "STATIC", load_assignment: { cluster_name: "service", endpoints } }],
    },
  };
}

async function startEnvoy(path: string, folder: string, task: ProxyTask): Promise<{ readonly child: ChildProcess; readonly port: number }> {
  const port = await pickPort();
  const file = join(folder, "envoy.json");
  writeFileSync(file, JSON.stringify(envoyConfig(port, task)), { mode: 0o600 });
  const child = spawn(path, ["-c", file, "--concurrency", "2", "--disable-hot-restart", "--log-level", "error"], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  for (const end = Date.now() + 10_000; Date.now() < end; await delay(50)) {
    const probe = connect(port, "127.0.0.1");
    const open = await once(probe, "connect").then(
      () => true,
      () => false,
    );
    probe.destroy();
    if (open) return { child, port };
  }
  throw new Error("envoy does not listen");
}

// === The client ===

async function openConnections(port: number, count: number, { key, chain, roots }: TlsMaterial): Promise<readonly TLSSocket[]> {
  const open = async () => {
    const socket = connectTls({ host: "127.0.0.1", port, key, cert: chain, ca: roots, checkServerIdentity: () => undefined });
    await once(socket, "secureConnect");
    return socket.setNoDelay(true);
  };
  return Promise.all(Array.from({ length: count }, open));
}

/** `count` requests over the connections, one at a time on each. */
function sendRequests(sockets: readonly TLSSocket[], count: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let left = count;
    let awaited = count;
    const next = (socket: TLSSocket) => {
      if (left-- > 0) socket.write(REQUEST);
    };
    for (const socket of sockets) {
      socket.removeAllListeners("data");
      socket.on("data", (chunk: Buffer) => {
        if (chunk.toString("latin1", chunk.length - ANSWER.length) !== ANSWER) return;
        awaited -= 1;
        if (awaited === 0) resolve();
        else next(socket);
      });
      socket.once("close", () => reject(new Error("a connection was closed")));
      next(socket);
    }
  });
}

async function main(seconds: number): Promise<void> {
  const envoyPath = findEnvoy();
  if (envoyPath === undefined) throw new Error("no Envoy to compare with: set ENVOY_PATH");
  const ca = new FakeCa();
  const folder = mkdtempSync(join(tmpdir(), "gb-"));
  const service = await startChild("service");
  const task = { material: ca.material(BACKEND), servicePort: service.port };
  const embedded = await startChild("embedded", task);
  const envoy = await startEnvoy(envoyPath, folder, task);
  try {
    const client = ca.material(FRONTEND);
    for (const [concurrency, guess] of [
      [1, 2_000],
      [32, 6_000],
    ] as const) {
      const ours = await openConnections(embedded.port, concurrency, client);
      const peer = await openConnections(envoy.port, concurrency, client);
      await compare({
        bench: `embedded proxy, requests, c=${concurrency}`,
        ours: (count) => sendRequests(ours, count),
        peer: (count) => sendRequests(peer, count),
        peerName: "Envoy, 2 workers, same mutual TLS and RBAC",
        count: guess,
        rounds: Math.max(3, seconds),
      });
      for (const socket of [...ours, ...peer]) socket.removeAllListeners("close").destroy();
    }
  } finally {
    for (const { child } of [service, embedded, envoy]) child.kill("SIGKILL");
    rmSync(folder, { recursive: true });
  }
}

const [role] = process.argv.slice(2);
if (role === "service") runService();
else if (role === "embedded") runEmbedded();
else await main(Number(role ?? 5));
