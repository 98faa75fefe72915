/**
 * Envoy's secret discovery service on a Unix socket, for the workload's own proxy. Node cannot ask a socket for its
 * peer's user, so the folder around it (0700) and its own mode (0600) are what keeps others out.
 */
import {
  type handleBidiStreamingCall,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type sendUnaryData,
} from "@grpc/grpc-js";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { toGrpcStatus } from "../rpc/status.ts";
import type { LogService } from "./records/log-service.ts";
import { cannotListen, claimSocket, closeToOthers } from "./run-folder.ts";
import {
  decodeDeltaRequest,
  decodeRequest,
  encodeDeltaResponse,
  encodeResponse,
  type SecretRequest,
  type SecretResponse,
} from "./sds-messages.ts";
import { SdsStream } from "./sds-stream.ts";
import { SecretSubscription } from "./secret-subscription.ts";
import type { SecretStore } from "./secrets.ts";
import type { Timers } from "./timers.ts";

/** Requests for secrets are a few names and a node description; a message of an access log has some 16 KiB, or one request with all its headers. */
const MAX_REQUEST_BYTES = 256 * 1024;
/** Envoy opens one for each secret. */
const MAX_STREAMS = 64;

function method(
  name: string,
  streams: boolean,
  decode: (bytes: Uint8Array) => SecretRequest,
  encode: (response: SecretResponse) => Buffer,
) {
  return {
    path: `/envoy.service.secret.v3.SecretDiscoveryService/${name}`,
    requestStream: streams,
    responseStream: streams,
    requestDeserialize: decode,
    responseSerialize: encode,
    // A server has no use for the other direction.
    requestSerialize: () => Buffer.alloc(0),
    responseDeserialize: () => ({ nonce: "", version: "", secrets: [] }),
  } satisfies MethodDefinition<SecretRequest, SecretResponse>;
}

/** The service as grpc-js wants it. */
export const SDS_METHODS = {
  StreamSecrets: method("StreamSecrets", true, decodeRequest, encodeResponse),
  DeltaSecrets: method("DeltaSecrets", true, decodeDeltaRequest, encodeDeltaResponse),
  FetchSecrets: method("FetchSecrets", false, decodeRequest, encodeResponse),
};

export interface SdsServerOptions {
  readonly socket: string;
  readonly store: SecretStore;
  readonly timers: Timers;
  readonly logger: Logger;
  /** Served at the same socket, to the same proxy. */
  readonly logs?: LogService | undefined;
}

export class SdsServer {
  readonly #options: SdsServerOptions;
  readonly #streams = new Set<SdsStream>();
  readonly #waiting = new Set<() => void>();
  readonly #server = new Server({ "grpc.max_receive_message_length": MAX_REQUEST_BYTES, "grpc.enable_channelz": 0 });

  private constructor(options: SdsServerOptions) {
    this.#options = options;
    const serve: handleBidiStreamingCall<SecretRequest, SecretResponse> = (call) =>
      this.#serve(new SdsStream(call, { ...options, onProgress: () => this.#look() }));
    this.#server.addService(SDS_METHODS, {
      StreamSecrets: serve,
      DeltaSecrets: serve,
      FetchSecrets: (call: ServerUnaryCall<SecretRequest, SecretResponse>, answer: sendUnaryData<SecretResponse>) =>
        fetchSecrets(options.store, call.request, answer),
    });
    if (options.logs !== undefined) this.#server.addService(options.logs.definition, options.logs.implementation);
  }

  /** Serves the store's secrets at the socket. Throws `address-in-use` where another process does. */
  static async start(options: SdsServerOptions): Promise<SdsServer> {
    const server = new SdsServer(options);
    await claimSocket(options.socket);
    await server.#listen(options.socket);
    return server;
  }

  /** How many streams are open. */
  get streams(): number {
    return this.#streams.size;
  }

  /**
   * Resolves with the number of streams that accepted this version of the secret, once all that are subscribed to it
   * have. Rejects with `invalid-argument` where one refused it, with `deadline-exceeded` where one is silent.
   */
  whenAccepted(name: string, version: string, timeoutMs: number): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const look = () => {
      try {
        const count = this.#accepted(name, version);
        if (count !== undefined) resolve(count);
      } catch (thrown) {
        reject(thrown);
      }
    };
    const late = new AppError("deadline-exceeded", `the proxy did not answer for the secret \`${name}\` within ${timeoutMs} ms`);
    const cancel = this.#options.timers.after(timeoutMs, () => reject(late));
    this.#waiting.add(look);
    look();
    return promise.finally(() => {
      cancel();
      this.#waiting.delete(look);
    });
  }

  close(): void {
    this.#server.forceShutdown();
  }

  #serve(stream: SdsStream): void {
    if (this.#streams.size >= MAX_STREAMS) {
      stream.close(new AppError("resource-exhausted", `${MAX_STREAMS} streams are open, and no more are allowed`));
      return;
    }
    this.#streams.add(stream);
    stream.ended.then(() => {
      this.#streams.delete(stream);
      this.#look();
    });
  }

  /** Lets everyone who waits see what has changed. */
  #look(): void {
    for (const look of [...this.#waiting]) look();
  }

  /** Undefined while a subscriber has not answered. */
  #accepted(name: string, version: string): number | undefined {
    const deliveries = [...this.#streams]
      .map((stream) => stream.delivery(name, version))
      .filter((delivery) => delivery !== "not-subscribed");
    for (const delivery of deliveries) {
      if (typeof delivery === "object")
        throw new AppError("invalid-argument", `the proxy refused the secret \`${name}\`: ${delivery.refused}`);
    }
    return deliveries.includes("waiting") ? undefined : deliveries.length;
  }

  #listen(socket: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (cause) => {
        if (cause !== null) return reject(cannotListen(socket, cause));
        closeToOthers(socket);
        return resolve();
      });
    });
  }
}

function fetchSecrets(store: SecretStore, { wanted }: SecretRequest, answer: sendUnaryData<SecretResponse>): void {
  try {
    const subscription = new SecretSubscription(store);
    subscription.replace(wanted.kind === "all" ? wanted.names : wanted.subscribe);
    const response = subscription.take();
    if (response === undefined) throw new AppError("unavailable", "the workload has no certificate yet");
    answer(null, response);
  } catch (thrown) {
    answer(toGrpcStatus(AppError.from(thrown)));
  }
}
