/** The workload's certificate and roots of the moment, and how TLS is spoken, for every TLS connection that begins from now on. */
import { createSecureContext, type SecureContext, type SecureContextOptions } from "node:tls";
import { AppError } from "../core/error.ts";
import { DEFAULT_MESH_TLS, type MeshTls } from "../policy/mesh-config.ts";
import { RotatingTlsMaterial, type TlsMaterial } from "../rpc/credentials.ts";
import type { Purpose } from "../x509/chain.ts";
import { contextOptions } from "./tls.ts";
import { checkDomain, type PresentedChain, type TrustedBundles } from "./trusted-bundles.ts";

/** What TLS itself verifies with; `checkDomain` binds the roots to their domains. */
function rootsOf({ roots }: TlsMaterial, bundles: TrustedBundles | undefined): string {
  return bundles === undefined ? roots : [...new Set(bundles.values())].join("");
}

export class Credentials {
  /** The same material for gRPC channels. */
  readonly grpc = new RotatingTlsMaterial();
  readonly #listeners = new Set<(context: SecureContextOptions) => void>();
  #tls: MeshTls = DEFAULT_MESH_TLS;
  #client: SecureContext | undefined;
  #bundles: TrustedBundles | undefined;

  /** Undefined until the agent has sent the first. */
  get material(): TlsMaterial | undefined {
    return this.grpc.current;
  }

  /** For connections of peers; undefined before the first certificate. */
  get serverContext(): SecureContextOptions | undefined {
    return this.material === undefined ? undefined : this.#options(this.material);
  }

  /** For a connection to a peer. Throws `unavailable` before the first certificate. */
  get clientContext(): SecureContext {
    if (this.#client === undefined) throw new AppError("unavailable", "there is no certificate yet");
    return this.#client;
  }

  /** Takes new material, and where other trust domains are trusted the roots of each, its own among them; open connections live on with what they began with. Throws `invalid-argument` for what OpenSSL does not take, and keeps the old. */
  update(material: TlsMaterial, bundles?: TrustedBundles): void {
    try {
      // OpenSSL takes an empty text for "none".
      if (Object.values(material).includes("")) throw new AppError("invalid-argument", "a part of it is empty");
      this.#client = createSecureContext(contextOptions(material, rootsOf(material, bundles), this.#tls));
    } catch (thrown) {
      // The cause is kept for the log; OpenSSL's words never hold key material.
      throw new AppError("invalid-argument", "the certificate, its key or the roots cannot be used", { cause: thrown });
    }
    this.#bundles = bundles;
    this.grpc.update(material);
    this.#tell(this.#options(material));
  }

  /** How TLS is spoken from now on. Throws `invalid-configuration` for what this machine's OpenSSL does not know, and keeps the old. */
  configure(tls: MeshTls): void {
    const { material } = this;
    try {
      const context = createSecureContext(material === undefined ? {} : contextOptions(material, rootsOf(material, this.#bundles), tls));
      if (material !== undefined) this.#client = context;
    } catch (thrown) {
      throw new AppError("invalid-configuration", "this machine's OpenSSL does not take the mesh's TLS settings", { cause: thrown });
    }
    this.#tls = tls;
    if (material !== undefined) this.#tell(this.#options(material));
  }

  /** Calls `listener` with each change. Returns what ends it. */
  subscribe(listener: (context: SecureContextOptions) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Throws `unauthenticated` for a peer whose certificate, that TLS has verified, leads to a root of another trust domain than its own. */
  checkDomain(peer: PresentedChain, purpose: Purpose): void {
    if (this.#bundles !== undefined) checkDomain(peer, this.#bundles, purpose);
  }

  #options(material: TlsMaterial): SecureContextOptions {
    return contextOptions(material, rootsOf(material, this.#bundles), this.#tls);
  }

  #tell(context: SecureContextOptions): void {
    for (const listener of this.#listeners) listener(context);
  }
}
