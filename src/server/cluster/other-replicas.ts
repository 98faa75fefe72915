/** The other replicas of a control plane, asked by mutual TLS: each must prove to be the control plane. */
import { Client, type ClientReadableStream, type MethodDefinition, type ServiceError, status } from "@grpc/grpc-js";
import { AppError } from "../../core/error.ts";
import { controlPlaneIdentity } from "../../identity/control-plane.ts";
import { formatSpiffeId } from "../../identity/spiffe-id.ts";
import type { TrustDomain } from "../../identity/trust-domain.ts";
import { clientCredentials, type RotatingTlsMaterial, tlsChannelOptions, unneeded } from "../../rpc/credentials.ts";
import { fromGrpcError } from "../../rpc/status.ts";
import type { KnownReplicas } from "../../sources/kubernetes/replica-reports.ts";
import { parseCertificate, svidIdentity } from "../../x509/certificate.ts";

/** Of the longest list of certificates, tokens and refusals, each with its longest texts. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
/** Two messages of a stream are never further apart where the replica is well. */
const DEFAULT_SILENCE_MS = 5_000;

/** What each of several replicas answered, and which of them could not be asked, with the reason. */
export interface Asked<T> {
  readonly answers: readonly { readonly replica: string; readonly answer: T }[];
  readonly unasked: readonly string[];
}

interface OtherReplicasOptions {
  readonly trustDomain: TrustDomain;
  /** The control plane's own certificate, and the roots that it trusts. */
  readonly material: RotatingTlsMaterial;
  readonly known: () => KnownReplicas;
  /** How long a stream may be silent, in milliseconds. */
  readonly silenceMs?: number;
}

/** What gRPC says of a connection that did not come about. */
const NO_CONNECTION = /^No connection established\. Last error: (?:Error: )?(.*?)\.? Resolution note: /;

/** What an operator is told of a replica that could not be asked. */
export function unaskedWords(replica: string, thrown: unknown): string {
  const { code, message } = AppError.from(thrown);
  if (code === "unsupported") return `${replica}: it is of another version, and cannot be asked this`;
  const [, why] = NO_CONNECTION.exec(message) ?? [];
  return `${replica}: ${why === undefined ? message : `it cannot be reached: ${why}`}`;
}

export class OtherReplicas {
  readonly #options: OtherReplicasOptions;

  constructor(options: OtherReplicasOptions) {
    this.#options = options;
  }

  get known(): KnownReplicas {
    return this.#options.known();
  }

  /** Asks all that live at once; one that cannot be asked is told, and keeps nobody waiting for longer than `deadlineMs`. `read` throws for what is no answer. */
  async ask<I, O, T>(method: MethodDefinition<I, O>, request: I, deadlineMs: number, read: (answer: O) => T): Promise<Asked<T>> {
    const { addresses, doubt } = this.known;
    const answers: { readonly replica: string; readonly answer: T }[] = [];
    const unasked = doubt === undefined ? [] : [doubt];
    await Promise.all(
      [...addresses].map(async ([replica, address]) => {
        try {
          answers.push({ replica, answer: read(await this.#askOne(method, request, address, deadlineMs)) });
        } catch (thrown) {
          unasked.push(unaskedWords(replica, thrown));
        }
      }),
    );
    return { answers, unasked: unasked.sort() };
  }

  /** Messages as they come, at the consumer's pace. Ends with the stream or the signal; throws where nothing came for some seconds. */
  async *stream<I, O>(
    method: MethodDefinition<I, O>,
    request: I,
    address: string | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<O, void, undefined> {
    const { client, close } = this.#connect(address);
    const { path, requestSerialize, responseDeserialize } = method;
    const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
    const cancel = () => call.cancel();
    signal.addEventListener("abort", cancel);
    try {
      yield* messages(call, this.#options.silenceMs ?? DEFAULT_SILENCE_MS);
    } catch (thrown) {
      if (!signal.aborted) throw thrown;
    } finally {
      signal.removeEventListener("abort", cancel);
      call.cancel();
      close();
    }
  }

  #connect(address: string | undefined): { readonly client: Client; readonly close: () => void } {
    if (address === undefined) throw new AppError("not-found", "it does not say where it is reached (--replica-address)");
    const { trustDomain, material } = this.#options;
    const own = formatSpiffeId(controlPlaneIdentity(trustDomain));
    let isOver = false;
    const credentials = clientCredentials(material, material, ({ raw }) => {
      if (isOver) return unneeded();
      return formatSpiffeId(svidIdentity(parseCertificate(raw))) === own ? undefined : new Error("the server is not the control plane");
    });
    const client = new Client(address, credentials, {
      "grpc.enable_http_proxy": 0,
      "grpc.enable_channelz": 0,
      "grpc.use_local_subchannel_pool": 1,
      "grpc.max_receive_message_length": MAX_ANSWER_BYTES,
      ...tlsChannelOptions(address),
    });
    const close = (): void => {
      isOver = true;
      client.close();
    };
    return { client, close };
  }

  async #askOne<I, O>(method: MethodDefinition<I, O>, request: I, address: string | undefined, deadlineMs: number): Promise<O> {
    const { client, close } = this.#connect(address);
    const { path, requestSerialize, responseDeserialize } = method;
    try {
      return await new Promise((resolve, reject) => {
        const deadline = Date.now() + deadlineMs;
        client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, { deadline }, (error, message) => {
          if (error?.code === status.DEADLINE_EXCEEDED) reject(silence(deadlineMs));
          else if (error !== null) reject(fromGrpcError(error));
          else if (message === undefined) reject(new AppError("internal", "an empty answer"));
          else resolve(message);
        });
      });
    } finally {
      close();
    }
  }
}

function silence(ms: number): AppError {
  return new AppError("deadline-exceeded", `it did not answer for ${ms / 1000} s`);
}

/** What it resolves with, where that is soon. */
async function soon<T>(promise: Promise<T>, ms: number): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(silence(ms)), ms);
  try {
    return await Promise.race([promise, late]);
  } catch (thrown) {
    throw thrown instanceof AppError ? thrown : fromGrpcError(thrown as ServiceError);
  } finally {
    clearTimeout(timer);
  }
}

async function* messages<O>(call: ClientReadableStream<O>, silenceMs: number): AsyncGenerator<O, void, undefined> {
  const iterator = call[Symbol.asyncIterator]() as AsyncIterator<O>;
  // The end of a call that nobody waits for any more is no news.
  call.on("error", () => undefined);
  for (;;) {
    const next = await soon(iterator.next(), silenceMs);
    if (next.done === true) return;
    yield next.value;
  }
}
