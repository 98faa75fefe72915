/** TLS credentials that change while connections live: the next handshake takes the newest certificate and roots. */

import { isIP } from "node:net";
import type { PeerCertificate } from "node:tls";
import { type ChannelCredentials, type ClientOptions, experimental } from "@grpc/grpc-js";
import { AppError } from "../core/error.ts";
import { setTlsDefaults } from "./tls-defaults.ts";

setTlsDefaults();

type CertificateProvider = experimental.CertificateProvider;

/** A key with its certificate chain (leaf first) and the roots to trust; all PEM. */
export interface TlsMaterial {
  readonly key: string;
  readonly chain: string;
  readonly roots: string;
}

/** Holds the material of the moment and tells grpc-js of each change. */
export class RotatingTlsMaterial implements CertificateProvider {
  #material: TlsMaterial | undefined;
  readonly #rootListeners = new Set<experimental.CaCertificateUpdateListener>();
  readonly #identityListeners = new Set<experimental.IdentityCertificateUpdateListener>();
  readonly #listeners = new Set<(material: TlsMaterial) => void>();

  constructor(material?: TlsMaterial) {
    this.#material = material;
  }

  get current(): TlsMaterial | undefined {
    return this.#material;
  }

  update(material: TlsMaterial): void {
    this.#material = material;
    for (const listener of this.#rootListeners) listener(this.#roots());
    for (const listener of this.#identityListeners) listener(this.#identity());
    for (const listener of this.#listeners) listener(material);
  }

  /** Told of each update to come. Returns what ends it. */
  onUpdate(listener: (material: TlsMaterial) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #roots(): experimental.CaCertificateUpdate | null {
    return this.#material === undefined ? null : { caCertificate: Buffer.from(this.#material.roots) };
  }

  #identity(): experimental.IdentityCertificateUpdate | null {
    return this.#material === undefined
      ? null
      : { certificate: Buffer.from(this.#material.chain), privateKey: Buffer.from(this.#material.key) };
  }

  addCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.#rootListeners.add(listener);
    process.nextTick(() => listener(this.#roots()));
  }

  removeCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.#rootListeners.delete(listener);
  }

  addIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
    this.#identityListeners.add(listener);
    process.nextTick(() => listener(this.#identity()));
  }

  removeIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
    this.#identityListeners.delete(listener);
  }
}

/**
 * Why a client that was closed refuses its server: grpc-js connects once more for one that was closed where nobody had answered, and
 * would keep that connection for good.
 */
export function unneeded(): AppError {
  return new AppError("unavailable", "the connection is not needed any more");
}

/** A client that presents its certificate, where it has one, and lets `checkServer` judge the verified server's names (return an Error to refuse). */
export function clientCredentials(
  roots: RotatingTlsMaterial,
  identity: RotatingTlsMaterial | undefined,
  checkServer: (certificate: PeerCertificate) => Error | undefined,
): ChannelCredentials {
  return experimental.createCertificateProviderChannelCredentials(roots, identity ?? null, {
    checkServerIdentity: (_hostname, certificate) => checkServer(certificate),
  });
}

/** What stands for an IP address where TLS wants a server name; nobody checks it, since identities are checked instead. */
const SERVER_NAME = "garrison.istio-system.svc";

/** The host of `HOST:PORT` or `[HOST]:PORT`. */
function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(":")).replace(/^\[(.*)\]$/, "$1");
}

/** Channel options for a TLS client of `HOST:PORT`: TLS has no server name for an IP address (RFC 6066 §3), and grpc-js offers no way to send none. */
export function tlsChannelOptions(address: string): ClientOptions {
  return isIP(hostOf(address)) === 0 ? {} : { "grpc.ssl_target_name_override": SERVER_NAME };
}
