/** A delta ADS client for one resource type: what the embedded proxy gets its policy by. */
import { create, type JsonObject } from "@bufbuild/protobuf";
import { type ChannelCredentials, Client, type ClientDuplexStream, type ServiceError } from "@grpc/grpc-js";
import { Backoff } from "../core/backoff.ts";
import type { Logger } from "../core/logger.ts";
import { AggregatedDiscoveryService } from "../gen/envoy/service/discovery/v3/ads_pb.js";
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  type Resource,
} from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import { tlsChannelOptions } from "../rpc/credentials.ts";
import { methodDefinition } from "../rpc/service.ts";
import { fromGrpcError } from "../rpc/status.ts";

export interface AdsClientOptions {
  /** `host:port` or `unix:PATH` of the control plane. */
  readonly address: string;
  /** Of one connection, which is to be refused once it is over (`unneeded`). */
  readonly credentials: (isOver: () => boolean) => ChannelCredentials;
  readonly node: { readonly id: string; readonly cluster: string; readonly metadata: JsonObject };
  readonly typeUrl: string;
  readonly names: readonly string[];
  /** A new or changed resource. What it throws or rejects with is told to the control plane as the reason for a NACK. */
  readonly onResource: (name: string, body: Uint8Array) => Promise<void> | void;
  /** The control plane has no such resource, or no longer. */
  readonly onRemoved: (name: string) => void;
  readonly logger: Logger;
  /** Calls back once after the delay in milliseconds; returns what cancels it. */
  readonly schedule?: (callback: () => void, delayMs: number) => () => void;
  /** In [0, 1). */
  readonly random?: () => number;
}

const RETRY_BASE_MS = 500;
const RETRY_MAX_MS = 30_000;
/** A workload's policy is some kilobytes; gRPC's own default is 4 MiB. */
const MAX_RESPONSE_BYTES = 16 << 20;
/** google.rpc.Code INVALID_ARGUMENT. */
const INVALID_ARGUMENT = 3;
const CHANNEL_OPTIONS = {
  "grpc.enable_channelz": 0,
  "grpc.enable_http_proxy": 0,
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.max_receive_message_length": MAX_RESPONSE_BYTES,
  "grpc.use_local_subchannel_pool": 1,
};

const METHOD = methodDefinition(AggregatedDiscoveryService.method.deltaAggregatedResources);

type AdsCall = ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

/** One attempt: a connection of its own, so that each handshake presents the newest certificate. */
interface Attempt {
  readonly client: Client;
  readonly call: AdsCall;
  ended: boolean;
}

function scheduleTimeout(callback: () => void, delayMs: number): () => void {
  const timer = setTimeout(callback, delayMs);
  return () => clearTimeout(timer);
}

/** Connects at once and again whenever the stream ends, until closed. What was received stays in force meanwhile. */
export class AdsClient {
  readonly #options: AdsClientOptions;
  readonly #backoff: Backoff;
  /** Versions of the resources in force. */
  readonly #versions = new Map<string, string>();
  #attempt: Attempt | undefined;
  #turn: Promise<void> = Promise.resolve();
  #cancelRetry: () => void = () => undefined;
  #connected = false;
  #closed = false;

  constructor(options: AdsClientOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ firstMs: RETRY_BASE_MS, maxMs: RETRY_MAX_MS, random: options.random ?? Math.random });
    this.#connect();
  }

  /** The control plane has accepted the stream that is open now. */
  get connected(): boolean {
    return this.#connected;
  }

  close(): void {
    this.#closed = true;
    this.#cancelRetry();
    this.#attempt?.call.cancel();
    this.#attempt?.client.close();
    this.#connected = false;
  }

  #connect(): void {
    const { address, credentials } = this.#options;
    let attempt: Attempt | undefined;
    const client = new Client(
      address,
      credentials(() => this.#closed || attempt?.ended === true),
      {
        ...CHANNEL_OPTIONS,
        ...tlsChannelOptions(address),
      },
    );
    const call = client.makeBidiStreamRequest(METHOD.path, METHOD.requestSerialize, METHOD.responseDeserialize);
    attempt = { client, call, ended: false };
    this.#follow(attempt);
  }

  #follow(attempt: Attempt): void {
    const { call } = attempt;
    this.#attempt = attempt;
    let failure: ServiceError | undefined;
    call.on("metadata", () => this.#accepted(attempt));
    call.on("data", (response: DeltaDiscoveryResponse) => this.#receive(attempt, response));
    call.on("error", (error: ServiceError) => {
      failure = error;
    });
    call.on("status", () => this.#lost(attempt, failure));
    call.write(this.#firstRequest());
  }

  #firstRequest(): DeltaDiscoveryRequest {
    const { node, typeUrl, names } = this.#options;
    return create(DeltaDiscoveryRequestSchema, {
      node: { ...node, userAgentName: "garrison" },
      typeUrl,
      resourceNamesSubscribe: [...names],
      initialResourceVersions: Object.fromEntries(this.#versions),
    });
  }

  #accepted(attempt: Attempt): void {
    if (this.#closed || attempt !== this.#attempt) return;
    this.#connected = true;
    this.#backoff.reset();
    this.#options.logger.log("info", "connected to the control plane", { address: this.#options.address });
  }

  #lost(attempt: Attempt, failure: ServiceError | undefined): void {
    attempt.ended = true;
    attempt.client.close();
    if (this.#closed) return;
    this.#connected = false;
    const delayMs = Math.round(this.#backoff.next());
    const reason = failure === undefined ? "the stream ended" : fromGrpcError(failure).message;
    this.#options.logger.log("warn", "lost the control plane", { address: this.#options.address, reason, retryMs: delayMs });
    this.#cancelRetry = (this.#options.schedule ?? scheduleTimeout)(() => this.#connect(), delayMs);
  }

  /** One response at a time, in the order in which they came. */
  #receive(attempt: Attempt, response: DeltaDiscoveryResponse): void {
    this.#turn = this.#turn.then(() => this.#handle(attempt, response));
  }

  async #handle(attempt: Attempt, { typeUrl, nonce, resources, removedResources }: DeltaDiscoveryResponse): Promise<void> {
    if (this.#closed) return;
    const problems: string[] = [];
    for (const resource of resources) problems.push(...(await this.#take(resource)));
    for (const name of removedResources) this.#remove(name);
    if (this.#closed || attempt.ended) return;
    const answer = create(DeltaDiscoveryRequestSchema, { typeUrl, responseNonce: nonce });
    if (problems.length > 0)
      answer.errorDetail = { $typeName: "google.rpc.Status", code: INVALID_ARGUMENT, message: problems.join("; "), details: [] };
    attempt.call.write(answer);
  }

  /** What is wrong with the resource: nothing, or one problem. */
  async #take({ name, version, resource }: Resource): Promise<readonly string[]> {
    const { typeUrl, names, onResource } = this.#options;
    if (resource?.typeUrl !== typeUrl || !names.includes(name)) return [`\`${name}\` was not asked for`];
    try {
      await onResource(name, resource.value);
    } catch (error) {
      return [`\`${name}\`: ${error instanceof Error ? error.message : String(error)}`];
    }
    this.#versions.set(name, version);
    return [];
  }

  #remove(name: string): void {
    this.#versions.delete(name);
    if (this.#options.names.includes(name)) this.#options.onRemoved(name);
  }
}
