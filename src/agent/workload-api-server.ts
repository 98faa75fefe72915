/** The SPIFFE Workload API on a Unix socket: who may open the socket is the workload. */
import {
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
} from "@grpc/grpc-js";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { callBounds } from "../rpc/call-bounds.ts";
import { RateLimit } from "../rpc/rate-limit.ts";
import { toGrpcStatus } from "../rpc/status.ts";
import { cannotListen, claimSocket } from "./run-folder.ts";
import type { Timers } from "./timers.ts";
import {
  checkSecurityHeader,
  fetchJwtSvid,
  jwtBundles,
  validate,
  type WorkloadApiOptions,
  x509Bundles,
  x509Svids,
} from "./workload-api.ts";
import { decodeJwtSvidRequest, decodeValidateRequest } from "./workload-api-messages.ts";
import { endStream, serveUpdates, type Updates } from "./workload-api-stream.ts";
import { admitToSocket, type SocketAccess } from "./workload-socket.ts";

export interface WorkloadApiServerOptions extends WorkloadApiOptions {
  readonly access: SocketAccess;
  readonly timers: Timers;
  readonly logger: Logger;
}

/** A token has a few KiB. */
const MAX_REQUEST_BYTES = 64 * 1024;
const MAX_STREAMS = 128;
const MAX_CALLS_AT_ONCE = 64;
/** Of all clients of the socket together. */
const PER_SECOND = 200;
const AT_ONCE = 400;

function method<Request>(name: string, streams: boolean, decode: (bytes: Uint8Array) => Request): MethodDefinition<Request, Buffer> {
  return {
    path: `/SpiffeWorkloadAPI/${name}`,
    requestStream: false,
    responseStream: streams,
    requestDeserialize: decode,
    responseSerialize: (message) => message,
    // A server has no use for the other direction.
    requestSerialize: () => Buffer.alloc(0),
    responseDeserialize: (bytes) => bytes,
  };
}

/** A request without fields; grpc-js takes undefined for none at all. */
const empty = () => ({});

const METHODS = {
  FetchX509SVID: method("FetchX509SVID", true, empty),
  FetchX509Bundles: method("FetchX509Bundles", true, empty),
  FetchJWTSVID: method("FetchJWTSVID", false, decodeJwtSvidRequest),
  FetchJWTBundles: method("FetchJWTBundles", true, empty),
  ValidateJWTSVID: method("ValidateJWTSVID", false, decodeValidateRequest),
};

export class WorkloadApiServer {
  readonly #options: WorkloadApiServerOptions;
  readonly #limit: RateLimit;
  readonly #server = new Server({
    "grpc.max_receive_message_length": MAX_REQUEST_BYTES,
    "grpc.enable_channelz": 0,
    ...callBounds(),
  });
  #streams = 0;
  #calls = 0;

  private constructor(options: WorkloadApiServerOptions) {
    this.#options = options;
    this.#limit = new RateLimit({ perSecond: PER_SECOND, atOnce: AT_ONCE, clock: options.clock });
    this.#server.addService(METHODS, {
      FetchX509SVID: this.#stream(x509Svids(options)),
      FetchX509Bundles: this.#stream(x509Bundles(options)),
      FetchJWTBundles: this.#stream(jwtBundles(options)),
      FetchJWTSVID: this.#unary((request: ReturnType<typeof decodeJwtSvidRequest>) => fetchJwtSvid(options, request)),
      ValidateJWTSVID: this.#unary((request: ReturnType<typeof decodeValidateRequest>) => validate(options, request)),
    });
  }

  /** Serves the workload at the socket. Throws `address-in-use` where another process does, `unsafe-permissions` for a folder that anybody may write to. */
  static async start(options: WorkloadApiServerOptions): Promise<WorkloadApiServer> {
    const server = new WorkloadApiServer(options);
    await claimSocket(options.access.path);
    await server.#listen(options.access);
    return server;
  }

  /** How many streams are open. */
  get streams(): number {
    return this.#streams;
  }

  close(): void {
    this.#server.forceShutdown();
  }

  #stream(updates: Updates) {
    return (call: ServerWritableStream<unknown, Buffer>): void => {
      call.on("error", () => undefined);
      try {
        checkSecurityHeader(call.metadata);
        this.#limit.take("");
        if (this.#streams >= MAX_STREAMS)
          throw new AppError("resource-exhausted", `${MAX_STREAMS} streams are open, and no more are allowed`);
      } catch (thrown) {
        endStream(call, AppError.from(thrown));
        return;
      }
      this.#streams += 1;
      void serveUpdates(call, updates, this.#options.timers).finally(() => {
        this.#streams -= 1;
      });
    };
  }

  #unary<Request>(work: (request: Request) => Promise<Buffer>) {
    return (call: ServerUnaryCall<Request, Buffer>, answer: sendUnaryData<Buffer>): void => {
      this.#admit(call, work).then(
        (response) => answer(null, response),
        (thrown) => answer(toGrpcStatus(AppError.from(thrown))),
      );
    };
  }

  async #admit<Request>(
    { metadata, request }: ServerUnaryCall<Request, Buffer>,
    work: (request: Request) => Promise<Buffer>,
  ): Promise<Buffer> {
    checkSecurityHeader(metadata);
    this.#limit.take("");
    if (this.#calls >= MAX_CALLS_AT_ONCE)
      throw new AppError("resource-exhausted", `${MAX_CALLS_AT_ONCE} calls are under way, and no more are allowed`);
    this.#calls += 1;
    try {
      return await work(request);
    } finally {
      this.#calls -= 1;
    }
  }

  #listen(access: SocketAccess): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(`unix:${access.path}`, ServerCredentials.createInsecure(), (cause) => {
        if (cause !== null) return reject(cannotListen(access.path, cause));
        try {
          admitToSocket(access);
          return resolve();
        } catch (thrown) {
          this.#server.forceShutdown();
          return reject(thrown);
        }
      });
    });
  }
}
