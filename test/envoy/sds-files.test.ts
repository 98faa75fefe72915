/** A real Envoy that gets a listener's certificate from the operator's files, by the agent's SDS socket. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { connect } from "node:tls";
import { startAgent } from "../../src/agent/agent.ts";
import { CONTROL_PLANE_IDENTITY, FakeCsrServer } from "../fakes/fake-csr-server.ts";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import { RecordingLogger } from "../fakes/recording-logger.ts";
import { workFolder } from "./envoy-process.ts";
import { findEnvoy, skipWithoutEnvoy } from "./find-envoy.ts";

const IDENTITY = "spiffe://cluster.local/ns/photo-ns/sa/photo-frontend";

/** An Envoy with one TLS listener, whose certificate has the name `secret` at the SDS socket. */
function bootstrap(port: number, sdsSocket: string, secret: string): object {
  const cluster = {
    name: "sds",
    type: "STATIC",
    typed_extension_protocol_options: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config: { http2_protocol_options: {} },
      },
    },
    load_assignment: { cluster_name: "sds", endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: sdsSocket } } } }] }] },
  };
  const sds_config = {
    resource_api_version: "V3",
    api_config_source: { api_type: "GRPC", transport_api_version: "V3", grpc_services: [{ envoy_grpc: { cluster_name: "sds" } }] },
  };
  const context = {
    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    common_tls_context: { tls_certificate_sds_secret_configs: [{ name: secret, sds_config }] },
  };
  const reply = {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config",
    response: { inline_string: "hello" },
  };
  const chain = {
    transport_socket: { name: "tls", typed_config: context },
    filters: [{ name: "reply", typed_config: reply }],
  };
  const address = { socket_address: { address: "127.0.0.1", port_value: port } };
  return {
    node: { id: "n", cluster: "c" },
    static_resources: { clusters: [cluster], listeners: [{ name: "in", address, filter_chains: [chain] }] },
  };
}

/** The serial number that the listener presents now; undefined while there is no handshake. */
async function presented(port: number): Promise<string | undefined> {
  const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false });
  try {
    await Promise.race([once(socket, "secureConnect"), delay(2_000).then(() => Promise.reject(new Error("no handshake")))]);
    return socket.getPeerCertificate().serialNumber?.toLowerCase();
  } catch {
    return undefined;
  } finally {
    socket.destroy();
  }
}

test("Envoy serves with the certificate of files, and with the next one when Kubernetes swaps `..data`", {
  skip: skipWithoutEnvoy(),
  timeout: 60_000,
}, async (t) => {
  using work = workFolder();
  const server = new FakeCsrServer(IDENTITY);
  await server.start();
  t.after(() => server.kill());
  writeFileSync(join(work.path, "root-cert.pem"), server.ca.rootPem);
  const mount = join(work.path, "tls");
  mkdirSync(mount);
  const generation = (name: string): void => {
    const { chain, key } = server.ca.material("spiffe://cluster.local/ns/photo-ns/sa/files");
    mkdirSync(join(mount, name));
    writeFileSync(join(mount, name, "tls.crt"), chain);
    writeFileSync(join(mount, name, "tls.key"), key);
    symlinkSync(name, join(mount, "..data_tmp"));
    renameSync(join(mount, "..data_tmp"), join(mount, "..data"));
  };
  generation("..1");
  for (const name of ["tls.crt", "tls.key"]) symlinkSync(`..data/${name}`, join(mount, name));
  const logger = new RecordingLogger();
  const agent = await startAgent({
    workload: "photo-ns/photo-frontend",
    identity: IDENTITY,
    address: "127.0.0.1",
    controlPlane: { address: "127.0.0.1", port: server.port, identity: CONTROL_PLANE_IDENTITY },
    rootCertificateFile: join(work.path, "root-cert.pem"),
    runFolder: join(work.path, "run"),
    proxy: { kind: "none" },
    sdsFiles: [mount],
    logger,
  });
  t.after(() => agent.stop());

  const port = await pickPort();
  const config = join(work.path, "envoy.json");
  writeFileSync(config, JSON.stringify(bootstrap(port, join(work.path, "run", "sds.sock"), `file-cert:${mount}/tls.crt~${mount}/tls.key`)));
  const envoy = spawn(findEnvoy() ?? "envoy", ["-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"], {
    stdio: "ignore",
  });
  t.after(async () => {
    envoy.kill("SIGKILL");
    await once(envoy, "exit");
  });
  await until("Envoy presents the certificate of the files", async () => (await presented(port)) !== undefined);
  const first = await presented(port);
  generation("..2");
  await until("Envoy presents the next one", async () => {
    const now = await presented(port);
    return now !== undefined && now !== first;
  });
  assert.equal((await logger.line("a certificate of a file has changed")).fields.secret, `file-cert:${mount}/tls.crt~${mount}/tls.key`);
});
