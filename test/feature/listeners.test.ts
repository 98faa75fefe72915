/** Every door of the control plane: which there are, and that each asks who comes in, on loopback as well. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { create, type DescService, toBinary } from "@bufbuild/protobuf";
import { Client, credentials, Metadata, Server, type ServiceDefinition, type ServiceError, status } from "@grpc/grpc-js";
import { silentLogger } from "../../src/core/logger.ts";
import { AccessLogService } from "../../src/gen/envoy/service/accesslog/v3/als_pb.js";
import { AggregatedDiscoveryService } from "../../src/gen/envoy/service/discovery/v3/ads_pb.js";
import { JwtSvidAuthority, WorkloadDirectory } from "../../src/gen/garrison/v1/identity_pb.js";
import { NameTables } from "../../src/gen/garrison/v1/names_pb.js";
import { DecisionLog } from "../../src/gen/garrison/v1/proxy_pb.js";
import { WorkloadRegistration } from "../../src/gen/garrison/v1/registration_pb.js";
import { Replicas } from "../../src/gen/garrison/v1/replica_pb.js";
import { TrustBundles } from "../../src/gen/garrison/v1/trust_pb.js";
import { IstioCertificateService } from "../../src/gen/istio/v1/auth/ca_pb.js";
import { clientCredentials, RotatingTlsMaterial } from "../../src/rpc/credentials.ts";
import { startControlPlane } from "../../src/server/control-plane.ts";
import { SETTINGS } from "../fixture/objects.ts";
import { CLIENT_IDENTITY, meshFiles, UNUSED_PORTS } from "./mesh.ts";
import { selfSigned } from "./odd-credentials.ts";
import { Place } from "./place.ts";

const place = new Place({ after }, meshFiles(UNUSED_PORTS));
before(() => place.serve());

const NODE = { id: "test", metadata: { NAMESPACE: "shop", WORKLOAD_NAME: "client", GARRISON_PROXY: "embedded" } };
const SERVICES: readonly (readonly [service: DescService, message: Readonly<Record<string, unknown>>])[] = [
  [IstioCertificateService, {}],
  [WorkloadDirectory, {}],
  [JwtSvidAuthority, {}],
  [AggregatedDiscoveryService, { node: NODE, typeUrl: "type.googleapis.com/garrison.v1.ProxyPolicy" }],
  [AccessLogService, { identifier: { node: NODE, logName: "x" } }],
  [DecisionLog, { node: NODE }],
  [TrustBundles, { workload: "shop/client" }],
  [NameTables, { workload: "shop/client" }],
  [Replicas, {}],
  [WorkloadRegistration, { group: "shop/client" }],
];

interface Method {
  readonly path: string;
  /** One that says who the caller would like to be. */
  readonly message: Buffer;
}

const METHODS: readonly Method[] = SERVICES.flatMap(([{ typeName, methods }, message]) =>
  methods.map(({ name, input }) => ({ path: `/${typeName}/${name}`, message: Buffer.from(toBinary(input, create(input, message))) })),
);

/** `tcp ADDRESS:PORT` of each socket on which a process listens (proc(5)). */
function listeners(pid: number): readonly string[] {
  const inodes = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
      } catch {
        return [];
      }
    }),
  );
  const tcp = ["tcp", "tcp6", "udp", "udp6"].flatMap((protocol) =>
    readFileSync(`/proc/net/${protocol}`, "utf8")
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => inodes.has(fields[9] ?? "") && (fields[3] === "0A" || protocol.startsWith("udp")))
      .map((fields) => `${protocol} ${Number.parseInt(fields[1]?.split(":")[1] ?? "", 16)}`),
  );
  const unix = readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => inodes.has(fields[6] ?? "") && fields[3] === "00010000")
    .map((fields) => `unix ${fields[7]}`);
  return [...tcp, ...unix].sort();
}

describe("the control plane", { timeout: 60_000 }, () => {
  test("listens on its one port and one socket, which its user alone may open", () => {
    const { pid, port, adminSocket } = place.controlPlane();
    assert.deepEqual(listeners(pid), [`tcp ${port}`, `unix ${adminSocket}`]);
    assert.equal(statSync(adminSocket).mode & 0o077, 0);
    assert.equal(statSync(join(adminSocket, "..")).mode & 0o077, 0);
  });

  /** The code that a call ends with. */
  function call(client: Client, { path, message }: Method): Promise<string> {
    const bytes = (value: Buffer) => value;
    return new Promise((resolve) => {
      const stream = client.makeBidiStreamRequest(path, bytes, bytes, new Metadata(), { deadline: Date.now() + 10_000 });
      stream.on("data", () => resolve("an answer"));
      stream.on("error", ({ code }: ServiceError) => resolve(status[code] ?? ""));
      stream.write(message);
      stream.end();
    });
  }

  test("serves no method without a proof of identity, nor for a self-signed one, though the caller is on loopback", async () => {
    const { host, port, rootCertificate } = place.controlPlane();
    const roots = new RotatingTlsMaterial({ key: "", chain: "", roots: readFileSync(rootCertificate, "utf8") });
    const strangers = [undefined, new RotatingTlsMaterial(selfSigned(CLIENT_IDENTITY))];
    const outcomes = strangers.flatMap((material) => {
      const options = { "grpc.ssl_target_name_override": "localhost", "grpc.use_local_subchannel_pool": 1 };
      const client = new Client(
        `${host}:${port}`,
        clientCredentials(roots, material, () => undefined),
        options,
      );
      after(() => client.close());
      return METHODS.map(async (method) => ({ path: method.path, code: await call(client, method) }));
    });
    for (const { path, code } of await Promise.all(outcomes)) assert.equal(code, "UNAUTHENTICATED", path);
  });

  test("has these methods, and each of them is asked here", async (t) => {
    const served: string[] = [];
    const addService = t.mock.method(Server.prototype, "addService");
    const controlPlane = await startControlPlane({
      config: { kind: "folder", folder: place.config },
      state: join(place.folder, "another"),
      listen: { host: "127.0.0.1", port: 0 },
      settings: SETTINGS,
      version: "test",
      logger: silentLogger,
    });
    await controlPlane.close();
    for (const {
      arguments: [definition],
    } of addService.mock.calls)
      served.push(...Object.values(definition as ServiceDefinition).map(({ path }) => path));
    assert.deepEqual(served.sort(), METHODS.map(({ path }) => path).sort());
  });

  test("answers no method that it has not", async () => {
    const { host, port } = place.controlPlane();
    const roots = new RotatingTlsMaterial({ key: "", chain: "", roots: readFileSync(place.controlPlane().rootCertificate, "utf8") });
    const client = new Client(
      `${host}:${port}`,
      clientCredentials(roots, undefined, () => undefined),
      { "grpc.ssl_target_name_override": "localhost" },
    );
    after(() => client.close());
    for (const path of [
      "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
      "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
      "/x/y",
    ])
      assert.equal(await call(client, { path, message: Buffer.alloc(0) }), "UNIMPLEMENTED", path);
  });

  test("serves no plaintext: not gRPC, not HTTP", async () => {
    const { host, port } = place.controlPlane();
    const client = new Client(`${host}:${port}`, credentials.createInsecure());
    after(() => client.close());
    for (const method of METHODS) assert.match(await call(client, method), /^(UNAVAILABLE|DEADLINE_EXCEEDED)$/, method.path);
    const answer = await new Promise<string>((resolve) => {
      let text = "";
      const socket = connect(port, host, () => void socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
      socket.on("data", (bytes) => {
        text += bytes.toString("latin1");
      });
      socket.on("error", () => resolve(text));
      socket.on("close", () => resolve(text));
    });
    assert.equal(answer.includes("HTTP/"), false);
  });
});
