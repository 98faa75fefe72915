/** A real gRPC server and raw clients for the tests of this folder. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { create, type DescMessage, type DescMethod, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import {
  Client,
  type ClientDuplexStream,
  credentials,
  Server,
  ServerCredentials,
  type ServerOptions,
  type StatusObject,
} from "@grpc/grpc-js";
import { silentLogger } from "../core/logger.ts";
import { AggregatedDiscoveryService } from "../gen/envoy/service/discovery/v3/ads_pb.js";
import type { DeltaDiscoveryResponse, DiscoveryResponse } from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import { methodDefinition } from "../rpc/service.ts";
import { ResourceCache, resource } from "./cache.ts";
import type { Resource, ResourceSet } from "./resource.ts";
import { type AdsService, createAdsService } from "./service.ts";
import type { AdsServiceOptions } from "./streams.ts";

export const DELTA = AggregatedDiscoveryService.method.deltaAggregatedResources;
const SOTW = AggregatedDiscoveryService.method.streamAggregatedResources;
/** A type that no rule of the protocol singles out. */
export const PLAIN = "type.example/Plain";
const FENCE = "type.example/Fence";
const PATIENCE_MS = 10_000;

/** A set from names and texts, by type. */
export function setOf(types: Readonly<Record<string, Readonly<Record<string, string>>>>): ResourceSet {
  const resources = (texts: Readonly<Record<string, string>>): ReadonlyMap<string, Resource> =>
    new Map(Object.entries(texts).map(([name, text]) => [name, resource(name, Buffer.from(text))]));
  return new Map(Object.entries(types).map(([typeUrl, texts]) => [typeUrl, resources(texts)]));
}

export interface TestServer {
  readonly cache: ResourceCache;
  readonly ads: AdsService;
  readonly address: string;
  /** Ends every connection at once, as a crash does. */
  stop(): void;
}

interface ListenOptions {
  readonly port?: number;
  readonly credentials?: ServerCredentials;
  readonly server?: ServerOptions;
}

/** The key of a stream is its node's id. `port` 0 takes a free one. */
export async function startServer(
  options: Partial<AdsServiceOptions> = {},
  { port = 0, credentials = ServerCredentials.createInsecure(), server: serverOptions = {} }: ListenOptions = {},
): Promise<TestServer> {
  const cache = options.cache ?? new ResourceCache();
  const ads = createAdsService({ logger: silentLogger, admit: (_peer, node) => ({ key: node.id }), ...options, cache });
  const server = new Server(serverOptions);
  server.addService(ads.definition, ads.implementation);
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, credentials, (error, value) => (error === null ? resolve(value) : reject(error)));
  });
  const stop = (): void => {
    ads.close();
    server.forceShutdown();
  };
  return { cache, ads, address: `127.0.0.1:${bound}`, stop };
}

/** Sends what it is told and keeps what it receives; answers nothing by itself. */
class RawStream<I extends DescMessage, O extends DescMessage> {
  readonly #client: Client;
  readonly #input: I;
  readonly call: ClientDuplexStream<MessageShape<I>, MessageShape<O>>;
  readonly #received: MessageShape<O>[] = [];
  readonly status: Promise<StatusObject>;
  #fences = 0;

  constructor(address: string, method: DescMethod & { readonly input: I; readonly output: O }, channel = credentials.createInsecure()) {
    this.#input = method.input;
    this.#client = new Client(address, channel, {
      "grpc.use_local_subchannel_pool": 1,
      "grpc.max_receive_message_length": -1,
      "grpc.ssl_target_name_override": "garrison",
    });
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
    this.call = this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    this.call.on("data", (response: MessageShape<O>) => {
      this.#received.push(response);
      this.call.emit("received");
    });
    this.call.on("error", () => undefined);
    this.status = new Promise((resolve) => this.call.on("status", resolve));
  }

  send(request: MessageInitShape<I>): void {
    this.call.write(create(this.#input, request));
  }

  /** The next response; fails when none comes or the stream ends. */
  async next(): Promise<MessageShape<O>> {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    while (this.#received.length === 0) {
      const ended = this.status.then(({ code, details }) => assert.fail(`the stream ended: ${code} ${details}`));
      await Promise.race([once(this.call, "received", { signal }), ended]);
    }
    const [response] = this.#received.splice(0, 1);
    assert.ok(response);
    return response;
  }

  nextFence(): string {
    this.#fences += 1;
    return `fence-${this.#fences}`;
  }

  close(): void {
    this.call.cancel();
    this.#client.close();
  }
}

export class DeltaStream extends RawStream<typeof DELTA.input, typeof DELTA.output> {
  constructor(address: string, channel = credentials.createInsecure()) {
    super(address, DELTA, channel);
  }

  ack({ typeUrl, nonce }: DeltaDiscoveryResponse): void {
    this.send({ typeUrl, responseNonce: nonce });
  }

  nack({ typeUrl, nonce }: DeltaDiscoveryResponse, message: string): void {
    this.send({ typeUrl, responseNonce: nonce, errorDetail: { code: 3, message } });
  }

  /** The next response, acknowledged. */
  async take(): Promise<DeltaDiscoveryResponse> {
    const response = await this.next();
    this.ack(response);
    return response;
  }

  /** Proves that the server has nothing more to say: its answer to a later question is the next thing that comes. */
  async quiet(): Promise<void> {
    const name = this.nextFence();
    this.send({ typeUrl: FENCE, resourceNamesSubscribe: [name] });
    const response = await this.take();
    assert.deepEqual(delta(response), { type: FENCE, removed: [name] });
  }
}

export class SotwStream extends RawStream<typeof SOTW.input, typeof SOTW.output> {
  constructor(address: string) {
    super(address, SOTW);
  }

  ack({ typeUrl, nonce, versionInfo }: DiscoveryResponse, resourceNames: string[] = []): void {
    this.send({ typeUrl, responseNonce: nonce, versionInfo, resourceNames });
  }

  nack({ typeUrl, nonce }: DiscoveryResponse, message: string, resourceNames: string[] = []): void {
    this.send({ typeUrl, responseNonce: nonce, errorDetail: { code: 3, message }, resourceNames });
  }
}

/** Looks again and again until it holds; fails when it never does. */
export async function eventually(holds: () => boolean): Promise<void> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  while (!holds()) {
    assert.equal(signal.aborted, false, `never came true: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** What a delta response says, without what differs from run to run. */
export function delta(response: DeltaDiscoveryResponse): { type: string; resources?: Record<string, string>; removed?: string[] } {
  const bodies = Object.fromEntries(response.resources.map(({ name, resource }) => [name, Buffer.from(resource?.value ?? []).toString()]));
  return {
    type: response.typeUrl,
    ...(response.resources.length > 0 ? { resources: bodies } : {}),
    ...(response.removedResources.length > 0 ? { removed: response.removedResources } : {}),
  };
}

/** The type and the bodies of a state-of-the-world response. */
export function sotw(response: DiscoveryResponse): { type: string; bodies: string[] } {
  return { type: response.typeUrl, bodies: response.resources.map(({ value }) => Buffer.from(value).toString()) };
}
