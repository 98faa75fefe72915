/** A control plane of the project's own parts for one real Envoy: xDS (delta) over a cache, and the access logs that come back. */
import { EventEmitter, once } from "node:events";
import { Server, ServerCredentials, type ServerReadableStream } from "@grpc/grpc-js";
import { readHttpEntry, readTcpEntry } from "../audit/als-entry.ts";
import type { EntrySource } from "../audit/als-fields.ts";
import type { EntryMeaning, NewAuditRecord } from "../audit/record.ts";
import { silentLogger } from "../core/logger.ts";
import type { SocketAddress } from "../gen/envoy/config/core/v3/address_pb.js";
import type { AccessLogCommon } from "../gen/envoy/data/accesslog/v3/accesslog_pb.js";
import { AccessLogService, type StreamAccessLogsMessage } from "../gen/envoy/service/accesslog/v3/als_pb.js";
import type { TlsMaterial } from "../rpc/credentials.ts";
import { serviceDefinition } from "../rpc/service.ts";
import { ResourceCache } from "../xds/cache.ts";
import type { ResourceSet } from "../xds/resource.ts";
import { type AdsService, createAdsService } from "../xds/service.ts";

const KEY = "proof";
const PATIENCE_MS = 30_000;

/** Both ends of a TCP connection: what joins an access log's entry to the client that asked. */
export function connectionKey(
  remote: { readonly ip: string; readonly port: number },
  local: { readonly ip: string; readonly port: number },
) {
  return `${remote.ip}:${remote.port} ${local.ip}:${local.port}`;
}

function endOf(address: AccessLogCommon["downstreamLocalAddress"]): { readonly ip: string; readonly port: number } {
  const socket: SocketAddress | undefined = address?.address.case === "socketAddress" ? address.address.value : undefined;
  const port = socket?.portSpecifier.case === "portValue" ? socket.portSpecifier.value : 0;
  return { ip: socket?.address ?? "", port };
}

export class ProvingControlPlane {
  readonly #server = new Server();
  readonly #cache = new ResourceCache();
  readonly #ads: AdsService;
  readonly #records = new Map<string, NewAuditRecord>();
  readonly #events = new EventEmitter();
  readonly #nacks: string[] = [];
  /** What was recorded of a connection after there was a record of it. */
  readonly #twice: string[] = [];
  port = 0;

  constructor() {
    this.#ads = createAdsService({
      cache: this.#cache,
      logger: silentLogger,
      admit: () => ({ key: KEY }),
      limits: { requestsPerSecond: 1_000_000 },
    });
    this.#ads.onEvent((event) => {
      if (event.kind === "nack") this.#nacks.push(`${event.names.join(" ")}: ${event.message}`);
      this.#events.emit("change");
    });
    this.#server.addService(this.#ads.definition, this.#ads.implementation);
    this.#server.addService(serviceDefinition(AccessLogService), {
      StreamAccessLogs: (stream: ServerReadableStream<StreamAccessLogsMessage, unknown>) => this.#collect(stream),
    });
  }

  listen({ key, chain, roots }: TlsMaterial): Promise<void> {
    const pair = { private_key: Buffer.from(key), cert_chain: Buffer.from(chain) };
    return new Promise((resolve, reject) => {
      this.#server.bindAsync("127.0.0.1:0", ServerCredentials.createSsl(Buffer.from(roots), [pair], true), (error, port) => {
        this.port = port;
        return error === null ? resolve() : reject(error);
      });
    });
  }

  /** Resolves when Envoy runs just these resources; rejects with its words where it refuses one. */
  async serve(resources: ResourceSet): Promise<void> {
    this.#cache.set(KEY, resources);
    await this.#until(
      () => this.#nacks.length > 0 || this.#ads.ackState(KEY) === "acked",
      () => `envoy does not run ${JSON.stringify(this.#ads.connections().map(({ behind }) => behind.slice(0, 3)))}`,
    );
    if (this.#nacks.length > 0) throw new Error(`envoy refused what was rendered:\n${this.#nacks.splice(0).join("\n")}`);
  }

  /** The record of each connection, once all have come; each is given once. */
  async records(keys: readonly string[]): Promise<ReadonlyMap<string, NewAuditRecord>> {
    const areThere = () => keys.every((key) => this.#records.has(key));
    await this.#until(areThere, "not all access log entries came").catch(() => undefined);
    if (this.#twice.length > 0) throw new Error(`a connection was recorded twice: ${this.#twice.splice(0).join("; ")}`);
    if (new Set(keys).size < keys.length) throw new Error("two questions had one connection");
    const asked = new Set(keys);
    const found = new Map([...this.#records].filter(([key]) => asked.has(key)));
    for (const key of keys) this.#records.delete(key);
    return found;
  }

  close(): void {
    this.#ads.close();
    this.#server.forceShutdown();
  }

  async #until(condition: () => boolean, otherwise: string | (() => string)): Promise<void> {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    while (!condition()) {
      await once(this.#events, "change", { signal }).catch(() => {
        throw new Error(typeof otherwise === "string" ? otherwise : otherwise());
      });
    }
  }

  #collect(stream: ServerReadableStream<StreamAccessLogsMessage, unknown>): void {
    let log = "";
    stream.on("data", ({ identifier, logEntries }: StreamAccessLogsMessage) => {
      log = identifier?.logName ?? log;
      const from: EntrySource = { workload: "", identity: "", log, serviceOf: () => "" };
      if (logEntries.case === "httpLogs")
        for (const entry of logEntries.value.logEntry) this.#keep(entry.commonProperties, readHttpEntry(entry, from));
      if (logEntries.case === "tcpLogs")
        for (const entry of logEntries.value.logEntry) this.#keep(entry.commonProperties, readTcpEntry(entry, from));
      this.#events.emit("change");
    });
    stream.on("error", () => undefined);
  }

  #keep(common: AccessLogCommon | undefined, meaning: EntryMeaning): void {
    if (common === undefined || meaning.kind !== "record") return;
    const key = connectionKey(endOf(common.downstreamDirectRemoteAddress), endOf(common.downstreamLocalAddress));
    const known = this.#records.get(key);
    if (known === undefined) this.#records.set(key, meaning.record);
    else this.#twice.push(`${key}: ${known.effect} by ${known.origin}, ${meaning.record.effect} ${meaning.record.detail}`);
  }
}
