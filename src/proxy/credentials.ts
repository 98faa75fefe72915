/** The workload's certificate and roots of the moment, for every TLS connection that begins from now on. */
import type { SecureContext } from "node:tls";
import { AppError } from "../core/error.ts";
import { RotatingTlsMaterial, type TlsMaterial } from "../rpc/credentials.ts";
import { clientContext } from "./tls.ts";

export class Credentials {
  /** The same material for gRPC channels. */
  readonly grpc = new RotatingTlsMaterial();
  readonly #listeners = new Set<(material: TlsMaterial) => void>();
  #client: SecureContext | undefined;

  /** Undefined until the agent has sent the first. */
  get material(): TlsMaterial | undefined {
    return this.grpc.current;
  }

  /** For a connection to a peer. Throws `unavailable` before the first certificate. */
  get clientContext(): SecureContext {
    if (this.#client === undefined) throw new AppError("unavailable", "there is no certificate yet");
    return this.#client;
  }

  /** Takes new material; open connections live on with what they began with. Throws `invalid-argument` for what OpenSSL does not take, and keeps the old. */
  update(material: TlsMaterial): void {
    try {
      // OpenSSL takes an empty text for "none".
      if (Object.values(material).includes("")) throw new AppError("invalid-argument", "a part of it is empty");
      this.#client = clientContext(material);
    } catch (thrown) {
      // The cause is kept for the log; OpenSSL's words never hold key material.
      throw new AppError("invalid-argument", "the certificate, its key or the roots cannot be used", { cause: thrown });
    }
    this.grpc.update(material);
    for (const listener of this.#listeners) listener(material);
  }

  /** Calls `listener` with each change. Returns what ends it. */
  subscribe(listener: (material: TlsMaterial) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
