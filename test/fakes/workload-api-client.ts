/** A client of the Workload API made from the protocol's generated code. */
import { create, type DescMessage, type DescMethod, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { Client, type ClientReadableStream, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import {
  type JWTBundlesResponse,
  SpiffeWorkloadAPI,
  type ValidateJWTSVIDResponse,
  type X509BundlesResponse,
  type X509SVIDResponse,
} from "../../src/gen/spiffe/workload/workload_pb.js";
import { methodDefinition } from "../../src/rpc/service.ts";

const { fetchX509SVID, fetchX509Bundles, fetchJWTBundles, fetchJWTSVID, validateJWTSVID } = SpiffeWorkloadAPI.method;
const LONGEST_WAIT_MS = 20_000;

function header(value = "true"): Metadata {
  const metadata = new Metadata();
  metadata.set("workload.spiffe.io", value);
  return metadata;
}

/** One stream. `next()` is the next message; `ended` the error that ended the stream. */
export class WorkloadApiStream<T> {
  readonly ended: Promise<ServiceError>;
  readonly #call: ClientReadableStream<T>;
  readonly #messages: AsyncIterator<T>;

  constructor(call: ClientReadableStream<T>) {
    this.#call = call;
    this.ended = new Promise((resolve) => call.on("error", resolve));
    this.#messages = call[Symbol.asyncIterator]() as AsyncIterator<T>;
  }

  async next(): Promise<T> {
    const timer = setTimeout(() => this.#call.destroy(new Error("no message came")), LONGEST_WAIT_MS);
    const { value, done } = await this.#messages.next();
    clearTimeout(timer);
    if (done === true) throw new Error("the stream has ended");
    return value;
  }

  cancel(): void {
    this.#call.cancel();
  }
}

export class WorkloadApiTestClient {
  readonly #client: Client;
  readonly #streams: { cancel(): void }[] = [];

  constructor(socket: string) {
    this.#client = new Client(`unix:${socket}`, credentials.createInsecure());
  }

  x509Svids(metadata: Metadata = header()): WorkloadApiStream<X509SVIDResponse> {
    return this.#open(fetchX509SVID, metadata);
  }

  x509Bundles(): WorkloadApiStream<X509BundlesResponse> {
    return this.#open(fetchX509Bundles, header());
  }

  jwtBundles(): WorkloadApiStream<JWTBundlesResponse> {
    return this.#open(fetchJWTBundles, header());
  }

  /** Rejects with the server's status. */
  async jwtSvid(audience: readonly string[], spiffeId = "", metadata: Metadata = header()): Promise<string> {
    const { svids } = await this.#ask(fetchJWTSVID, { audience: [...audience], spiffeId }, metadata);
    return svids[0]?.svid ?? "";
  }

  /** Rejects with the server's status. */
  validate(audience: string, svid: string): Promise<ValidateJWTSVIDResponse> {
    return this.#ask(validateJWTSVID, { audience, svid }, header());
  }

  /** Cancels what is open. */
  close(): void {
    for (const stream of this.#streams) stream.cancel();
    this.#client.close();
  }

  #open<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { readonly input: I; readonly output: O },
    metadata: Metadata,
  ): WorkloadApiStream<MessageShape<O>> {
    const { path, requestSerialize, responseDeserialize } = methodDefinition<I, O>(method);
    const request = create(method.input) as MessageShape<I>;
    const stream = new WorkloadApiStream(
      this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, metadata),
    );
    this.#streams.push(stream);
    return stream;
  }

  #ask<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { readonly input: I; readonly output: O },
    init: MessageInitShape<I>,
    metadata: Metadata,
  ): Promise<MessageShape<O>> {
    const { path, requestSerialize, responseDeserialize } = methodDefinition<I, O>(method);
    const request = create(method.input, init);
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, (error, response) =>
        error === null && response !== undefined ? resolve(response) : reject(error),
      );
    });
  }
}
