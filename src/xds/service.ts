/** Envoy's AggregatedDiscoveryService over a cache, and what is known of the proxies that use it. */
import { type DescMessage, type DescMethod, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import type { ServerOptions, ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js";
import { AppError } from "../core/error.ts";
import { AggregatedDiscoveryService } from "../gen/envoy/service/discovery/v3/ads_pb.js";
import type { DeltaDiscoveryRequest, DiscoveryRequest } from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import { methodDefinition } from "../rpc/service.ts";
import type { AckState, XdsConnection, XdsEvent } from "./connection.ts";
import type { AdsCall } from "./stream.ts";
import { deltaVariant } from "./stream-delta.ts";
import { sotwVariant } from "./stream-sotw.ts";
import { type AdsServiceOptions, Streams } from "./streams.ts";

export interface AdsService {
  /** For `server.addService(definition, implementation)`. */
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
  /** Every stream that is admitted. */
  connections(): readonly XdsConnection[];
  /** Returns what ends the listening. */
  onEvent(listener: (event: XdsEvent) => void): () => void;
  /** Over the streams of a key; `none` where there are none. */
  ackState(key: string): AckState | "none";
  /** The state of the key once it is no longer `pending`, or what it is after `timeoutMs`. */
  whenAcked(key: string, timeoutMs: number): Promise<AckState | "none">;
  /** Ends the streams of a key: its identity is revoked, say. */
  disconnect(key: string, reason: AppError): void;
  /** Ends all streams; those that come later are refused. */
  close(): void;
}

/**
 * For the grpc-js server that carries the service: dead peers are found by pings, which an answer may take long to where it waits
 * behind a large response on a slow way: whoever is cut off for that begins anew, and never comes to an end. And no connection lives so long that
 * new streams on it would still present the certificate of its first handshake after that has expired.
 */
export const ADS_SERVER_OPTIONS: ServerOptions = {
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 60_000,
  "grpc.max_connection_age_ms": 15 * 60_000,
  // Nobody asks for these statistics, which are kept of each connection, stream and message.
  "grpc.enable_channelz": 0,
};

/** A method whose oversized and malformed requests reach the handler as errors, and whose responses are encoded already. */
function boundedMethod<I extends DescMessage, O extends DescMessage>(
  method: DescMethod & { readonly input: I; readonly output: O },
  maxBytes: number,
) {
  const requestDeserialize = (bytes: Buffer): MessageShape<I> | AppError => {
    if (bytes.length > maxBytes) return new AppError("resource-exhausted", `a request of ${bytes.length} bytes is larger than ${maxBytes}`);
    try {
      return fromBinary(method.input, bytes);
    } catch (cause) {
      return new AppError("invalid-argument", `a request is not a ${method.input.typeName}`, { cause });
    }
  };
  return { ...methodDefinition(method), requestDeserialize, responseSerialize: (bytes: Buffer) => bytes };
}

/** The service over a cache. Fails no call on bad input but the one that brought it. */
export function createAdsService(options: AdsServiceOptions): AdsService {
  const streams = new Streams(options);
  const { deltaAggregatedResources, streamAggregatedResources } = AggregatedDiscoveryService.method;
  const { requestBytes } = streams.limits;
  return {
    definition: {
      DeltaAggregatedResources: boundedMethod(deltaAggregatedResources, requestBytes),
      StreamAggregatedResources: boundedMethod(streamAggregatedResources, requestBytes),
    },
    implementation: {
      DeltaAggregatedResources: (call: AdsCall<DeltaDiscoveryRequest>) => streams.open(call, deltaVariant),
      StreamAggregatedResources: (call: AdsCall<DiscoveryRequest>) => streams.open(call, sotwVariant),
    },
    connections: () => streams.all(),
    onEvent: (listener) => streams.onEvent(listener),
    ackState: (key) => streams.ackState(key),
    whenAcked: (key, timeoutMs) => streams.whenAcked(key, timeoutMs),
    disconnect: (key, reason) => {
      for (const stream of streams.of(key)) stream.fail(reason);
    },
    close: () => streams.close(),
  };
}
