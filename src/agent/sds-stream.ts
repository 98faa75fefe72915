/** One SDS stream, of either variant of the protocol. */
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { toGrpcStatus } from "../rpc/status.ts";
import { printable } from "./printable.ts";
import { SECRET_TYPE_URL, type SecretRequest, type SecretResponse } from "./sds-messages.ts";
import { type Delivery, SecretSubscription } from "./secret-subscription.ts";
import type { SecretStore } from "./secrets.ts";

export interface SdsStreamOptions {
  readonly store: SecretStore;
  readonly logger: Logger;
  /** After each request, and at the end. */
  readonly onProgress: () => void;
}

export class SdsStream {
  readonly ended: Promise<void>;
  readonly #call: ServerDuplexStream<SecretRequest, SecretResponse>;
  readonly #options: SdsStreamOptions;
  readonly #subscription: SecretSubscription;

  /** Serves the stream until either side ends it. */
  constructor(call: ServerDuplexStream<SecretRequest, SecretResponse>, options: SdsStreamOptions) {
    this.#call = call;
    this.#options = options;
    this.#subscription = new SecretSubscription(options.store);
    const unsubscribe = options.store.subscribe(() => this.#push());
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise.finally(unsubscribe);
    call.on("data", (request: SecretRequest) => this.#serve(request));
    call.on("drain", () => this.#push());
    call.on("end", () => call.end());
    for (const event of ["error", "close", "cancelled"]) call.on(event, resolve);
  }

  /** How far the client has come with that version. */
  delivery(name: string, version: string): Delivery | "not-subscribed" {
    return this.#subscription.names.has(name) ? this.#subscription.delivery(name, version) : "not-subscribed";
  }

  /** Ends the stream with a status. */
  close(error: AppError): void {
    this.#call.emit("error", toGrpcStatus(error));
  }

  #serve(request: SecretRequest): void {
    try {
      this.#receive(request);
      this.#push();
      this.#options.onProgress();
    } catch (thrown) {
      const error = AppError.from(thrown);
      this.#options.logger.log("warn", "an SDS stream was ended", { error: printable(error.message), code: error.code });
      this.close(error);
    }
  }

  #receive({ typeUrl, nonce, refusal, wanted }: SecretRequest): void {
    if (typeUrl !== "" && typeUrl !== SECRET_TYPE_URL) {
      throw new AppError("invalid-argument", `this service has no resources of type \`${typeUrl.slice(0, 200)}\``);
    }
    const current = nonce === "" || this.#subscription.settle(nonce, refusal);
    if (current && refusal !== undefined) {
      this.#options.logger.log("error", "the proxy refused a secret", {
        reason: printable(refusal),
        secrets: [...this.#subscription.names].join(","),
      });
    }
    // An answer to an outdated response may have outdated names, where they are the whole; changes are changes at any time.
    if (wanted.kind === "change") this.#subscription.change(wanted);
    else if (current) this.#subscription.replace(wanted.names);
  }

  /** While the client does not read, nothing is queued: when it does, it gets the newest. */
  #push(): void {
    const { writableNeedDrain, writableEnded, destroyed } = this.#call;
    if (writableNeedDrain || writableEnded || destroyed) return;
    const sent = this.#subscription.take();
    if (sent === undefined) return;
    this.#call.write(sent);
    for (const { name, version } of sent.secrets) this.#options.logger.log("info", "secret sent to the proxy", { secret: name, version });
  }
}
