/** Proxies that ask as Envoy does (clusters, endpoints, listeners, filters), accept everything and keep nothing; a process of its own. */
import { type ClientHttp2Stream, connect } from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { DeltaDiscoveryRequestSchema, DiscoveryRequestSchema } from "../../src/gen/envoy/service/discovery/v3/discovery_pb.js";
import { authorizationFilterNames } from "../../src/render/envoy/authorization.ts";
import { customFilterNames } from "../../src/render/envoy/external-authorization.ts";
import { requestAuthenticationFilterNames } from "../../src/render/envoy/request-authentication.ts";
import { CLUSTER, ENDPOINTS, EXTENSION, LISTENER } from "../../src/xds/types.ts";
import type { Arrivals, Order, ProxyIdentity } from "./messages.ts";

type Variant = "delta" | "sotw";

/** As much as Envoy lets come at once. */
const WINDOW = 256 << 20;
const FRAME_HEADER = 5;

function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

interface Response {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly version: string;
  /** Of resources that carry their own name in field 1. */
  readonly names: readonly string[];
}

/** Field 1 of a message, a text. */
function firstText(bytes: Uint8Array): string {
  const reader = new BinaryReader(bytes);
  reader.tag();
  return reader.string();
}

/** Of `Any`, its value. */
function valueIn(any: Uint8Array): Uint8Array {
  const reader = new BinaryReader(any);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === 2) return reader.bytes();
    reader.skip(type);
  }
  return any;
}

const FIELDS = {
  sotw: { version: 1, resources: 2, typeUrl: 4, nonce: 5 },
  delta: { version: 1, resources: 2, typeUrl: 4, nonce: 5 },
} as const;

/** Reads only what is needed; names only where they are asked for. */
function readResponse(bytes: Uint8Array, variant: Variant, wantsNames: boolean): Response {
  const fields = FIELDS[variant];
  const reader = new BinaryReader(bytes);
  const names: string[] = [];
  const response = { typeUrl: "", nonce: "", version: "" };
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === fields.version && type === WireType.LengthDelimited) response.version = reader.string();
    else if (field === fields.typeUrl) response.typeUrl = reader.string();
    else if (field === fields.nonce) response.nonce = reader.string();
    else if (field === fields.resources && wantsNames) {
      const resource = reader.bytes();
      names.push(variant === "sotw" ? firstText(valueIn(resource)) : nameOfDelta(resource));
    } else reader.skip(type);
  }
  return { ...response, names };
}

/** `Resource.name`, field 3. */
function nameOfDelta(resource: Uint8Array): string {
  const reader = new BinaryReader(resource);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === 3) return reader.string();
    reader.skip(type);
  }
  return "";
}

const RETRY_MS = 1_000;

class SimulatedProxy {
  readonly #identity: ProxyIdentity;
  readonly #order: Extract<Order, { kind: "connect" }>;
  #stream: ClientHttp2Stream;
  readonly #variant: Variant;
  readonly #filters: readonly string[];
  readonly #seen = new Set<string>();
  #pending: Buffer = Buffer.alloc(0);
  #subscribed: readonly string[] = [];
  responses = 0;
  bytes = 0;
  last = 0;

  constructor(identity: ProxyIdentity, order: Extract<Order, { kind: "connect" }>) {
    [this.#identity, this.#order, this.#variant] = [identity, order, order.variant];
    const workload = `${identity.namespace}/${identity.name}`;
    this.#filters = [
      ...requestAuthenticationFilterNames(workload).map((filter) => filter.name),
      ...customFilterNames(workload, "http").map((filter) => filter.name),
      ...authorizationFilterNames(workload, "http"),
    ];
    this.#stream = this.#connect();
  }

  /** Who is sent away, as one of many that come at one moment, comes back as Envoy does, and begins anew. */
  #connect(): ClientHttp2Stream {
    const { namespace, name, key, chain } = this.#identity;
    const { port, roots, variant } = this.#order;
    const workload = `${namespace}/${name}`;
    const session = connect(`https://127.0.0.1:${port}`, {
      key,
      cert: chain,
      ca: roots,
      checkServerIdentity: () => undefined,
      settings: { initialWindowSize: WINDOW, enablePush: false },
    });
    session.on("connect", () => session.setLocalWindowSize(WINDOW));
    const failed = ({ message }: Error): void => {
      if (this.complete) console.error(workload, message);
    };
    session.on("error", failed);
    session.on("close", () => {
      this.#seen.clear();
      [this.#pending, this.#subscribed] = [Buffer.alloc(0), []];
      setTimeout(() => this.#connect(), RETRY_MS * (0.5 + Math.random()));
    });
    const method = variant === "delta" ? "DeltaAggregatedResources" : "StreamAggregatedResources";
    const stream = session.request({
      ":method": "POST",
      ":path": `/envoy.service.discovery.v3.AggregatedDiscoveryService/${method}`,
      "content-type": "application/grpc",
      te: "trailers",
    });
    this.#stream = stream;
    stream.on("data", (chunk: Buffer) => this.#take(chunk));
    stream.on("trailers", (trailers) => console.error(workload, trailers["grpc-status"], trailers["grpc-message"]));
    stream.on("error", failed);
    const node = {
      id: workload,
      cluster: workload,
      metadata: {
        NAMESPACE: namespace,
        WORKLOAD_NAME: name,
        GARRISON_PROXY: "envoy",
      },
    };
    this.#ask({ typeUrl: CLUSTER, names: [], node });
    return stream;
  }

  get complete(): boolean {
    return this.#seen.size === 4;
  }

  #take(chunk: Buffer): void {
    this.bytes += chunk.length;
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    while (this.#pending.length >= FRAME_HEADER) {
      const end = FRAME_HEADER + this.#pending.readUInt32BE(1);
      if (this.#pending.length < end) return;
      const message = this.#pending.subarray(FRAME_HEADER, end);
      this.#pending = this.#pending.subarray(end);
      this.#answer(message);
    }
  }

  #answer(message: Uint8Array): void {
    this.responses += 1;
    this.last = now();
    const isClusters = Buffer.from(message.buffer, message.byteOffset, message.length).includes(CLUSTER);
    const { typeUrl, nonce, version, names } = readResponse(message, this.#variant, isClusters);
    const first = !this.#seen.has(typeUrl);
    this.#seen.add(typeUrl);
    if (typeUrl === CLUSTER) this.#subscribed = names.filter((name) => name.startsWith("outbound|"));
    const wanted = typeUrl === ENDPOINTS ? this.#subscribed : typeUrl === EXTENSION ? this.#filters : [];
    this.#ask({
      typeUrl,
      names: this.#variant === "sotw" ? wanted : [],
      nonce,
      version,
    });
    if (!first) return;
    if (typeUrl === CLUSTER) {
      this.#ask({ typeUrl: ENDPOINTS, names: this.#subscribed });
      this.#ask({ typeUrl: LISTENER, names: [] });
      if (this.#subscribed.length === 0) this.#seen.add(ENDPOINTS);
    } else if (typeUrl === LISTENER) this.#ask({ typeUrl: EXTENSION, names: this.#filters });
  }

  #ask(request: {
    readonly typeUrl: string;
    readonly names: readonly string[];
    readonly nonce?: string;
    readonly version?: string;
    readonly node?: object;
  }): void {
    const { typeUrl, names, nonce = "", version = "", node } = request;
    const shared = {
      typeUrl,
      responseNonce: nonce,
      ...(node === undefined ? {} : { node }),
    };
    const bytes =
      this.#variant === "delta"
        ? toBinary(
            DeltaDiscoveryRequestSchema,
            create(DeltaDiscoveryRequestSchema, {
              ...shared,
              resourceNamesSubscribe: [...names],
            }),
          )
        : toBinary(
            DiscoveryRequestSchema,
            create(DiscoveryRequestSchema, {
              ...shared,
              versionInfo: version,
              resourceNames: [...names],
            }),
          );
    const frame = Buffer.alloc(FRAME_HEADER + bytes.length);
    frame.writeUInt32BE(bytes.length, 1);
    frame.set(bytes, FRAME_HEADER);
    this.#stream.write(frame);
  }
}

const proxies: SimulatedProxy[] = [];

function count(): Arrivals {
  const reached = proxies.filter(({ responses }) => responses > 0);
  const arrivals = {
    proxies: proxies.flatMap(({ responses }, index) => (responses > 0 ? [index] : [])),
    responses: reached.reduce((sum, { responses }) => sum + responses, 0),
    bytes: reached.reduce((sum, { bytes }) => sum + bytes, 0),
    last: reached.map(({ last }) => last),
    complete: proxies.filter(({ complete }) => complete).length,
  };
  for (const proxy of proxies) {
    proxy.responses = 0;
    proxy.bytes = 0;
  }
  return arrivals;
}

process.on("message", (order: Order) => {
  if (order.kind === "count") process.send?.(count());
  else for (const identity of order.proxies) proxies.push(new SimulatedProxy(identity, order));
});
process.on("disconnect", () => process.exit());
