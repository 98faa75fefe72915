/** A client of an SDS socket that shows every response and answers as it is told. */
import { create, fromBinary } from "@bufbuild/protobuf";
import { Client, type ClientDuplexStream, credentials, type ServiceError } from "@grpc/grpc-js";
import { type Secret, SecretSchema } from "../../src/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  type DiscoveryRequest,
  DiscoveryRequestSchema,
  type DiscoveryResponse,
} from "../../src/gen/envoy/service/discovery/v3/discovery_pb.js";
import { SecretDiscoveryService } from "../../src/gen/envoy/service/secret/v3/sds_pb.js";
import { methodDefinition } from "../../src/rpc/service.ts";

const STREAM = methodDefinition(SecretDiscoveryService.method.streamSecrets);
const DELTA = methodDefinition(SecretDiscoveryService.method.deltaSecrets);
const FETCH = methodDefinition(SecretDiscoveryService.method.fetchSecrets);
const SECRET_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const LONGEST_WAIT_MS = 20_000;

/** What one response brought, in the words of either variant. */
export interface SdsResponse {
  readonly nonce: string;
  readonly version: string;
  readonly secrets: readonly Secret[];
}

export interface SdsAnswer {
  readonly subscribe?: readonly string[];
  readonly unsubscribe?: readonly string[];
  readonly held?: Readonly<Record<string, string>>;
  readonly nonce?: string;
  readonly refusal?: string;
  readonly typeUrl?: string;
}

interface Variant {
  send(answer: SdsAnswer): void;
}

/** The names in a secret and its PEM texts. */
export function secretText(secret: Secret | undefined): { readonly chain?: string; readonly key?: string; readonly roots?: string } {
  const text = (source: { specifier: { case?: string | undefined; value?: unknown } } | undefined) =>
    source?.specifier.value instanceof Uint8Array ? Buffer.from(source.specifier.value).toString() : "";
  switch (secret?.type.case) {
    case "tlsCertificate":
      return { chain: text(secret.type.value.certificateChain), key: text(secret.type.value.privateKey) };
    case "validationContext":
      return { roots: text(secret.type.value.trustedCa) };
    default:
      return {};
  }
}

/** One stream. `next()` is the next response; `ended` the error that ended the stream. */
export class SdsTestStream {
  readonly ended: Promise<ServiceError>;
  readonly #responses: SdsResponse[] = [];
  readonly #waiting: ((response: SdsResponse) => void)[] = [];
  readonly #variant: Variant;
  readonly #cancel: () => void;

  constructor(client: Client, kind: "sotw" | "delta") {
    const receive = (response: SdsResponse) => {
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#responses.push(response);
      else waiting(response);
    };
    const stream = kind === "sotw" ? openSotw(client, receive) : openDelta(client, receive);
    this.#variant = stream;
    this.#cancel = () => stream.call.cancel();
    this.ended = new Promise((resolve) => stream.call.on("error", resolve));
  }

  /** How many responses came that nobody has taken. */
  get unread(): number {
    return this.#responses.length;
  }

  send(answer: SdsAnswer): void {
    this.#variant.send(answer);
  }

  next(): Promise<SdsResponse> {
    const response = this.#responses.shift();
    if (response !== undefined) return Promise.resolve(response);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("no response came")), LONGEST_WAIT_MS);
      this.#waiting.push((next) => {
        clearTimeout(timer);
        resolve(next);
      });
    });
  }

  cancel(): void {
    this.#cancel();
  }
}

function openSotw(
  client: Client,
  receive: (response: SdsResponse) => void,
): Variant & { call: ClientDuplexStream<DiscoveryRequest, DiscoveryResponse> } {
  const call = client.makeBidiStreamRequest(STREAM.path, STREAM.requestSerialize, STREAM.responseDeserialize);
  const names = new Set<string>();
  call.on("data", ({ nonce, versionInfo, resources }: DiscoveryResponse) =>
    receive({ nonce, version: versionInfo, secrets: resources.map(({ value }) => fromBinary(SecretSchema, value)) }),
  );
  return {
    call,
    send: ({ subscribe = [], unsubscribe = [], nonce = "", refusal, typeUrl = SECRET_TYPE }) => {
      for (const name of subscribe) names.add(name);
      for (const name of unsubscribe) names.delete(name);
      const errorDetail = refusal === undefined ? {} : { errorDetail: { code: 3, message: refusal } };
      call.write(create(DiscoveryRequestSchema, { resourceNames: [...names], responseNonce: nonce, typeUrl, ...errorDetail }));
    },
  };
}

function openDelta(
  client: Client,
  receive: (response: SdsResponse) => void,
): Variant & { call: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> } {
  const call = client.makeBidiStreamRequest(DELTA.path, DELTA.requestSerialize, DELTA.responseDeserialize);
  call.on("data", ({ nonce, systemVersionInfo, resources }: DeltaDiscoveryResponse) =>
    receive({
      nonce,
      version: systemVersionInfo,
      secrets: resources.map(({ resource }) => fromBinary(SecretSchema, resource?.value ?? new Uint8Array())),
    }),
  );
  return {
    call,
    send: ({ subscribe = [], unsubscribe = [], held = {}, nonce = "", refusal, typeUrl = SECRET_TYPE }) => {
      const errorDetail = refusal === undefined ? {} : { errorDetail: { code: 3, message: refusal } };
      call.write(
        create(DeltaDiscoveryRequestSchema, {
          resourceNamesSubscribe: [...subscribe],
          resourceNamesUnsubscribe: [...unsubscribe],
          initialResourceVersions: { ...held },
          responseNonce: nonce,
          typeUrl,
          ...errorDetail,
        }),
      );
    },
  };
}

export class SdsTestClient {
  readonly #client: Client;
  readonly #streams: SdsTestStream[] = [];

  constructor(socket: string) {
    this.#client = new Client(`unix:${socket}`, credentials.createInsecure());
  }

  open(kind: "sotw" | "delta"): SdsTestStream {
    const stream = new SdsTestStream(this.#client, kind);
    this.#streams.push(stream);
    return stream;
  }

  /** One `FetchSecrets`. Rejects with the server's status. */
  fetch(...names: string[]): Promise<DiscoveryResponse> {
    return new Promise((resolve, reject) => {
      const request = create(DiscoveryRequestSchema, { resourceNames: names });
      this.#client.makeUnaryRequest(FETCH.path, FETCH.requestSerialize, FETCH.responseDeserialize, request, (error, response) =>
        error === null && response !== undefined ? resolve(response) : reject(error),
      );
    });
  }

  /** Cancels what is open. */
  close(): void {
    for (const stream of this.#streams) stream.cancel();
    this.#client.close();
  }
}
