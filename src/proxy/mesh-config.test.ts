/** What the mesh's configuration says of TLS, paths, proxies in front and other names, in the embedded proxy, in both directions. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";
import { call, exchangeRaw, peerAgent, peerOptions } from "../../test/fakes/http-clients.ts";
import { InboundScene } from "../../test/fakes/inbound-scene.ts";
import {
  BACKEND,
  FRONTEND,
  inboundListener,
  layers,
  makeProxy,
  type ProxyUnderTest,
  rule,
  workloadPolicy,
} from "../../test/fakes/proxy-setup.ts";
import type { WorkloadPolicy } from "../compile/workload-policy.ts";
import { parseIpBlock } from "../policy/ip-block.ts";
import { DEFAULT_MESH_TLS, type MeshTls } from "../policy/mesh-config.ts";

const REQUEST = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const OLD_BACKEND = BACKEND.replace("cluster.local", "old.example");
const AT_LEAST_1_3: MeshTls = { ...DEFAULT_MESH_TLS, minVersion: "1.3" };

const scene = new InboundScene();

function apply(settings: Partial<WorkloadPolicy>, to: ProxyUnderTest = scene.setup): Promise<void> {
  return to.proxy.apply(workloadPolicy({ inbound: [inboundListener(scene.application.port)], ...settings }));
}

/** What the handshake came to; empty where it failed. */
async function shake(options: ConnectionOptions = {}): Promise<string> {
  const socket: TLSSocket = connectTls({
    host: "127.0.0.1",
    port: scene.setup.port(),
    checkServerIdentity: () => undefined,
    ...peerOptions(scene.setup.material(FRONTEND)),
    ...options,
  });
  let agreed = "";
  socket.once("secureConnect", () => {
    agreed = `${socket.getProtocol()} ${socket.getCipher().name} ${(socket.getEphemeralKeyInfo() as { name?: string } | null)?.name}`;
  });
  const said = await exchangeRaw(socket, REQUEST).catch(() => "");
  return said.includes("200 OK") ? agreed : "";
}

describe("meshMTLS", () => {
  test("the least version holds from the next connection on, and ends those that were agreed on before", async () => {
    await apply({});
    assert.match(await shake({ maxVersion: "TLSv1.2" }), /^TLSv1\.2 /);
    const agent = peerAgent(scene.setup.material(FRONTEND), 1);
    assert.equal((await call({ port: scene.setup.port(), agent })).status, 200);
    const [kept] = Object.values(agent.freeSockets).flat();
    assert.ok(kept !== undefined);
    const closed = new Promise((resolve) => kept.once("close", resolve));
    await apply({ tls: AT_LEAST_1_3 });
    await closed;
    assert.equal(await shake({ maxVersion: "TLSv1.2" }), "");
    assert.match(await shake(), /^TLSv1\.3 /);
    await apply({});
    assert.match(await shake({ maxVersion: "TLSv1.2" }), /^TLSv1\.2 /);
  });

  test("a change of certificate keeps the settings", async () => {
    await apply({ tls: AT_LEAST_1_3 });
    scene.setup.credentials.update(scene.setup.material(BACKEND));
    assert.equal(await shake({ maxVersion: "TLSv1.2" }), "");
    assert.match(await shake(), /^TLSv1\.3 /);
  });

  test("suites of TLS 1.2 and groups are those that are named, and no others", async () => {
    await apply({ tls: { minVersion: "1.2", cipherSuites: ["ECDHE-ECDSA-AES128-GCM-SHA256"], ecdhCurves: ["P-384", "P-256"] } });
    const with12 = (more: ConnectionOptions): Promise<string> => shake({ maxVersion: "TLSv1.2", ...more });
    assert.match(await with12({ ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256" }), /^TLSv1\.2 ECDHE-ECDSA-AES128-GCM-SHA256 /);
    assert.equal(await with12({ ciphers: "ECDHE-ECDSA-AES256-GCM-SHA384" }), "");
    assert.match(await with12({ ecdhCurve: "P-521:P-384:P-256" }), / secp384r1$/);
    assert.equal(await shake({ ecdhCurve: "X25519" }), "");
    await apply({ tls: { ...DEFAULT_MESH_TLS, ecdhCurves: ["X25519MLKEM768"] } });
    assert.match(await shake(), /^TLSv1\.3 /);
    assert.equal(await shake({ ecdhCurve: "X25519" }), "");
  });
});

describe("a handshake", () => {
  test("is by X25519MLKEM768 where the peer has it, and by a classical group where it has not, and the record has it", async () => {
    await apply({});
    assert.match(await shake(), /^TLSv1\.3 \S+ X25519MLKEM768$/);
    assert.match(await shake({ ecdhCurve: "X25519" }), /^TLSv1\.3 \S+ X25519$/);
    assert.match(await shake({ ecdhCurve: "P-256" }), /^TLSv1\.3 \S+ prime256v1$/);
    assert.match(await shake({ ecdhCurve: "P-256", maxVersion: "TLSv1.2" }), /^TLSv1\.2 \S+ prime256v1$/);
    await scene.setup.keeper.next(() => true, 4);
    assert.deepEqual(
      scene.setup.keeper.records.map(({ tls = "" }) => tls.replace(/ \S+ /, " ")),
      ["TLSv1.3 X25519MLKEM768", "TLSv1.3 X25519", "TLSv1.3 P-256", "TLSv1.2 P-256"],
    );
  });

  test("below TLS 1.2, or without authenticated encryption, is refused", async () => {
    await apply({});
    assert.equal(await shake({ minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" }), "");
    for (const ciphers of ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA384"])
      assert.equal(await shake({ maxVersion: "TLSv1.2", ciphers }), "");
    assert.match(await shake({ maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256" }), /^TLSv1\.2 /);
  });
});

describe("calls to a service", () => {
  let frontend: ProxyUnderTest;

  beforeEach(() => {
    frontend = makeProxy({ ca: scene.setup.ca, identity: FRONTEND, limits: { connectMs: 2_000 } });
  });
  afterEach(() => frontend.proxy.close(0));

  async function status(settings: Partial<WorkloadPolicy>, aliases: readonly string[] = []): Promise<number> {
    const endpoint = { address: "127.0.0.1", port: scene.setup.port(), identity: BACKEND, aliases, mtls: true };
    const host = "photo-backend.photo-ns.svc.cluster.local";
    const service = { service: "photo-ns/photo-backend", host, port: 80, protocol: "http", sni: "a", endpoints: [endpoint] } as const;
    const bind = { kind: "tcp", host: "127.0.0.1", port: 0 } as const;
    const outbound = [{ name: "outbound", bind, protocol: "http", services: [service] } as const];
    await frontend.proxy.apply(workloadPolicy({ workload: "photo-ns/photo-frontend", identity: FRONTEND, outbound, ...settings }));
    return (await call({ port: frontend.port("outbound"), headers: { host: "photo-backend" } })).status;
  }

  test("are made with the least version, also where a connection of before is kept", async () => {
    await apply({ tls: { ...DEFAULT_MESH_TLS, ecdhCurves: ["P-384"] } });
    assert.equal(await status({}), 200);
    assert.equal(await status({ tls: { ...DEFAULT_MESH_TLS, ecdhCurves: ["X25519"] } }), 503);
    assert.equal(await status({ tls: { ...DEFAULT_MESH_TLS, ecdhCurves: ["P-384"] } }), 200);
  });

  test("may be answered by an alias of the account, and by nobody else", async () => {
    await apply({});
    scene.setup.credentials.update(scene.setup.material(OLD_BACKEND));
    assert.equal(await status({}), 503);
    assert.equal(await status({}, [OLD_BACKEND]), 200);
    assert.equal(await status({}, [OLD_BACKEND.replace("old.", "older.")]), 503);
  });
});

describe("requests", () => {
  const headers = { "x-forwarded-for": "192.0.2.1, 192.0.2.2", "x-forwarded-proto": "http" };

  async function received(
    settings: Partial<WorkloadPolicy>,
    path = "/",
  ): Promise<{ status: number; url?: string; headers?: Record<string, string> }> {
    await apply(settings);
    const { status, body } = await call({ port: scene.setup.port(), agent: peerAgent(scene.setup.material(FRONTEND)), path, headers });
    return { status, ...(status === 200 ? JSON.parse(body.toString()) : {}) };
  }

  test("have their path forwarded as it is matched", async () => {
    const path = "/a%2F..%5cb//c?d=//%2F";
    assert.equal((await received({ pathNormalization: "DECODE_AND_MERGE_SLASHES" }, path)).url, "/b/c?d=//%2F");
    assert.equal((await received({ pathNormalization: "MERGE_SLASHES" }, path)).url, "/a%2F..%5cb/c?d=//%2F");
    assert.equal((await received({}, path)).url, path);
    assert.equal((await received({ pathNormalization: "NONE" }, "/a/../b")).url, "/a/../b");
  });

  test("pass X-Forwarded-For on as it came, and are believed their scheme behind trusted proxies only", async () => {
    const [trusted, untrusted] = [await received({ numTrustedProxies: 1 }), await received({})];
    assert.deepEqual(
      [trusted, untrusted].map((one) => one.headers?.["x-forwarded-for"]),
      Array(2).fill("192.0.2.1, 192.0.2.2"),
    );
    assert.deepEqual(
      [trusted, untrusted].map((one) => one.headers?.["x-forwarded-proto"]),
      ["http", "https"],
    );
  });

  test("come from the client that trusted proxies name", async () => {
    const block = { kind: "ip", block: parseIpBlock("192.0.2.2") } as const;
    const when = [{ attribute: "remoteIp", argument: "", negated: false, values: [block] }] as const;
    const http = layers({ deny: [rule("client", { kind: "when", from: [], to: [], when })] });
    assert.equal((await received({ http })).status, 200);
    assert.equal((await received({ http, numTrustedProxies: 1 })).status, 403);
    assert.equal((await received({ http, numTrustedProxies: 2 })).status, 200);
  });
});
