/**
 * A control plane for one real Envoy: state-of-the-world ADS and access logs over mutual TLS, and beside it an agent's
 * SDS on a Unix socket. It serves what `renderEnvoy` yields, byte for byte, and keeps what comes back.
 */
import { EventEmitter, once } from "node:events";
import { create } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { Server, ServerCredentials, type ServerDuplexStream, type ServerReadableStream } from "@grpc/grpc-js";
import type { HTTPAccessLogEntry, TCPAccessLogEntry } from "../../src/gen/envoy/data/accesslog/v3/accesslog_pb.js";
import { SecretSchema } from "../../src/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import { SPIFFECertValidatorConfigSchema } from "../../src/gen/envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config_pb.js";
import { AccessLogService, type StreamAccessLogsMessage } from "../../src/gen/envoy/service/accesslog/v3/als_pb.js";
import { AggregatedDiscoveryService } from "../../src/gen/envoy/service/discovery/v3/ads_pb.js";
import {
  type DiscoveryRequest,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from "../../src/gen/envoy/service/discovery/v3/discovery_pb.js";
import { SecretDiscoveryService } from "../../src/gen/envoy/service/secret/v3/sds_pb.js";
import { namedConfig } from "../../src/render/envoy/any.ts";
import type { EnvoyResources } from "../../src/render/envoy/render.ts";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import { serviceDefinition } from "../../src/rpc/service.ts";

type AdsStream = ServerDuplexStream<DiscoveryRequest, DiscoveryResponse>;

/** An access log entry with the log that it came in. */
export type LogEntry = { readonly log: string } & (
  | { readonly kind: "http"; readonly entry: HTTPAccessLogEntry }
  | { readonly kind: "tcp"; readonly entry: TCPAccessLogEntry }
);

const WILDCARD_TYPES = /\.(Cluster|Listener)$/;

export class FakeControlPlane {
  readonly logs: LogEntry[] = [];
  /** What Envoy refused: type and message. */
  readonly nacks: string[] = [];
  readonly #events = new EventEmitter();
  readonly #server = new Server();
  readonly #subscriptions = new Map<AdsStream, Map<string, readonly string[]>>();
  /** By type: the nonce that Envoy answered last. */
  readonly #answered = new Map<string, string>();
  #resources: EnvoyResources = new Map();
  #version = 0;
  port = 0;

  async listen({ key, chain, roots }: TlsMaterial): Promise<void> {
    this.#server.addService(serviceDefinition(AggregatedDiscoveryService), {
      StreamAggregatedResources: (stream: AdsStream) => this.#serve(stream),
    });
    this.#server.addService(serviceDefinition(AccessLogService), {
      StreamAccessLogs: (stream: ServerReadableStream<StreamAccessLogsMessage, unknown>) => this.#collect(stream),
    });
    const pair = { private_key: Buffer.from(key), cert_chain: Buffer.from(chain) };
    const credentials = ServerCredentials.createSsl(Buffer.from(roots), [pair], true);
    this.port = await bind(this.#server, "127.0.0.1:0", credentials);
  }

  /** From now on these are the resources; every stream is told at once. Resolves when Envoy has accepted or refused each type. */
  async serve(resources: EnvoyResources): Promise<void> {
    this.#resources = resources;
    this.#version += 1;
    const version = String(this.#version);
    for (const [stream, types] of this.#subscriptions) for (const [typeUrl, names] of types) this.#send(stream, typeUrl, names);
    await this.until(() =>
      [...this.#subscriptions.values()].every((types) => [...types.keys()].every((type) => this.#answered.get(type) === version)),
    );
  }

  #serve(stream: AdsStream): void {
    const types = new Map<string, readonly string[]>();
    this.#subscriptions.set(stream, types);
    stream.on("data", (request: DiscoveryRequest) => {
      const { typeUrl, resourceNames, errorDetail, responseNonce } = request;
      this.#answered.set(typeUrl, responseNonce);
      if (errorDetail !== undefined) this.nacks.push(`${typeUrl}: ${errorDetail.message}`);
      const known = types.get(typeUrl);
      types.set(typeUrl, resourceNames);
      if (known === undefined || known.join() !== resourceNames.join()) this.#send(stream, typeUrl, resourceNames);
      this.#events.emit("change");
    });
    stream.on("end", () => stream.end());
    stream.on("close", () => this.#subscriptions.delete(stream));
    stream.on("error", () => this.#subscriptions.delete(stream));
  }

  #send(stream: AdsStream, typeUrl: string, names: readonly string[]): void {
    const all = [...(this.#resources.get(typeUrl)?.values() ?? [])];
    const chosen = WILDCARD_TYPES.test(typeUrl) ? all : all.filter(({ name }) => names.includes(name));
    const versionInfo = String(this.#version);
    const resources = chosen.map(({ body }) => ({ typeUrl, value: body }));
    stream.write(create(DiscoveryResponseSchema, { typeUrl, versionInfo, nonce: versionInfo, resources }));
  }

  #collect(stream: ServerReadableStream<StreamAccessLogsMessage, unknown>): void {
    let log = "";
    stream.on("data", ({ identifier, logEntries }: StreamAccessLogsMessage) => {
      log = identifier?.logName ?? log;
      if (logEntries.case === "httpLogs") for (const entry of logEntries.value.logEntry) this.logs.push({ log, kind: "http", entry });
      if (logEntries.case === "tcpLogs") for (const entry of logEntries.value.logEntry) this.logs.push({ log, kind: "tcp", entry });
      this.#events.emit("change");
    });
    stream.on("error", () => undefined);
  }

  /** Resolves when the condition holds; it is asked after every message that comes. */
  async until(condition: () => boolean, timeoutMs = 15_000): Promise<void> {
    const signal = AbortSignal.timeout(timeoutMs);
    while (!condition()) await once(this.#events, "change", { signal });
  }

  close(): void {
    this.#server.forceShutdown();
  }
}

/** An agent's SDS: `default`, `ROOTCA`, and the machine's roots. */
export class FakeAgent {
  readonly #server = new Server();

  /** `bundles` are roots (PEM) by trust domain, each bound to its own. */
  async listen(
    socket: string,
    { key, chain, roots }: TlsMaterial,
    systemRoots = roots,
    bundles?: ReadonlyMap<string, string>,
  ): Promise<void> {
    const inline = (text: string) => ({ specifier: { case: "inlineString", value: text } }) as const;
    const bound = [...(bundles ?? [])].map(([name, roots]) => ({ name, trustBundle: inline(roots) }));
    const validator = namedConfig("envoy.tls.cert_validator.spiffe", SPIFFECertValidatorConfigSchema, { trustDomains: bound });
    const customValidatorConfig = { name: validator.name, typedConfig: validator.configType.value };
    const peers = bundles === undefined ? { trustedCa: inline(roots) } : { customValidatorConfig };
    const secrets = new Map([
      ["default", { case: "tlsCertificate", value: { certificateChain: inline(chain), privateKey: inline(key) } } as const],
      ["ROOTCA", { case: "validationContext", value: peers } as const],
      ["ROOTCA-SERVERS", { case: "validationContext", value: { trustedCa: inline(roots) } } as const],
      ["file-root:system", { case: "validationContext", value: { trustedCa: inline(systemRoots) } } as const],
    ]);
    const answer = (stream: AdsStream, { resourceNames, typeUrl, responseNonce }: DiscoveryRequest): void => {
      if (responseNonce !== "") return;
      const resources = resourceNames.flatMap((name) => {
        const type = secrets.get(name);
        return type === undefined ? [] : [anyPack(SecretSchema, create(SecretSchema, { name, type }))];
      });
      stream.write(create(DiscoveryResponseSchema, { typeUrl, versionInfo: "1", nonce: "1", resources }));
    };
    this.#server.addService(serviceDefinition(SecretDiscoveryService), {
      StreamSecrets: (stream: AdsStream) => {
        stream.on("data", (request: DiscoveryRequest) => answer(stream, request));
        stream.on("end", () => stream.end());
        stream.on("error", () => undefined);
      },
    });
    await bind(this.#server, `unix:${socket}`, ServerCredentials.createInsecure());
  }

  close(): void {
    this.#server.forceShutdown();
  }
}

function bind(server: Server, address: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => (error === null ? resolve(port) : reject(error)));
  });
}
