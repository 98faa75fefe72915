/** The server's side of TLS with clients that are not of the mesh. */
import { constants, createHash, type X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import { createSecureContext, type SecureContextOptions, Server, type TLSSocket } from "node:tls";
import type { OutsideSecurity } from "../compile/gateway-policy.ts";
import { AppError } from "../core/error.ts";
import { TLS12_SUITES } from "../policy/gateway.ts";
import type { GatewaySecrets } from "./gateway-secrets.ts";

export interface OutsideTlsOptions {
  readonly security: OutsideSecurity;
  readonly secrets: GatewaySecrets;
  readonly handshakeMs: number;
  readonly onClient: (socket: TLSSocket) => void;
  readonly onRefused: (sourceIp: string, reason: string) => void;
}

const TLS13_SUITES = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/** Throws `unavailable` without the secrets, and what OpenSSL makes of bad ones. */
function contextOptions(
  { certificate, clients, minVersion, maxVersion, cipherSuites }: OutsideSecurity,
  secrets: GatewaySecrets,
): SecureContextOptions {
  const own = secrets.certificates.get(certificate);
  const authority = clients === undefined ? undefined : secrets.authorities.get(clients.ca);
  if (own === undefined || (clients !== undefined && authority === undefined))
    throw new AppError("unavailable", "the server's certificates have not come");
  return {
    key: own.key.reveal(),
    cert: own.chain,
    minVersion,
    maxVersion,
    ciphers: [...TLS13_SUITES, ...(cipherSuites.length === 0 ? TLS12_SUITES : cipherSuites)].join(":"),
    honorCipherOrder: true,
    // A resumed session would keep a verdict on a client certificate (CVE-2022-21654).
    secureOptions: constants.SSL_OP_NO_TICKET,
    ...(authority === undefined ? {} : { ca: authority.ca, ...(authority.crl === undefined ? {} : { crl: authority.crl }) }),
  };
}

// === Client certificates ===

/** One name of Node's text of a certificate's names; what could be read in two ways stands there as a JSON string. */
const NAME = /(DNS|URI|IP Address|email):("(?:[^"\\]|\\.)*"|[^,]*)(?:, |$)/y;

/** The names that Istio compares; none where the text cannot be read to its end. */
export function namesIn(subjectAltName: string): readonly string[] {
  const names: string[] = [];
  NAME.lastIndex = 0;
  while (NAME.lastIndex < subjectAltName.length) {
    const [, , value] = NAME.exec(subjectAltName) ?? [];
    if (value === undefined) return [];
    names.push(value.startsWith('"') ? String(JSON.parse(value)) : value);
  }
  return names;
}

function spkiHash({ publicKey }: X509Certificate): string {
  return createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("base64");
}

function isOneOf(
  certificate: X509Certificate,
  { subjectAltNames, certificateHashes, spkiHashes }: NonNullable<OutsideSecurity["clients"]>,
): boolean {
  const named = subjectAltNames.length === 0 || namesIn(certificate.subjectAltName ?? "").some((name) => subjectAltNames.includes(name));
  if (certificateHashes.length + spkiHashes.length === 0) return named;
  const hash = certificate.fingerprint256.replaceAll(":", "").toLowerCase();
  return named && (certificateHashes.includes(hash) || spkiHashes.includes(spkiHash(certificate)));
}

/** Why a client may not come in; undefined when it may. */
function flawOf(socket: TLSSocket, clients: OutsideSecurity["clients"]): string | undefined {
  if (clients === undefined) return undefined;
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return clients.optional ? undefined : "the client presented no certificate";
  if (!socket.authorized) {
    const error: unknown = socket.authorizationError;
    return `the client's certificate is not trusted: ${error instanceof Error ? error.message : String(error)}`;
  }
  return isOneOf(certificate, clients) ? undefined : "the client's certificate is none of those that the server takes";
}

function reasonOf(error: Error & { readonly code?: string }): string {
  return error.code === "ERR_TLS_HANDSHAKE_TIMEOUT"
    ? "the TLS handshake took too long"
    : `the TLS handshake failed: ${error.code ?? "unknown error"}`;
}

export class OutsideTls {
  readonly #options: OutsideTlsOptions;
  readonly #server: Server;

  /** Throws where the secrets are missing or bad. */
  constructor(options: OutsideTlsOptions) {
    const { security, secrets, handshakeMs } = options;
    this.#options = options;
    const context = contextOptions(security, secrets);
    createSecureContext(context);
    this.#server = new Server({
      ...context,
      requestCert: security.clients !== undefined,
      // The verdict is read in #secured, so that a refusal leaves a trace of where it came from.
      rejectUnauthorized: false,
      handshakeTimeout: handshakeMs,
      ALPNProtocols: ["h2", "http/1.1"],
    });
    this.#server.on("secureConnection", (socket) => this.#secured(socket));
    this.#server.on("tlsClientError", (error, socket) => this.#failed(error, socket));
  }

  /** Begins the handshake on a connection whose first bytes have been put back. */
  serve(socket: Socket): void {
    this.#server.emit("connection", socket);
  }

  #secured(socket: TLSSocket): void {
    socket.on("error", () => socket.destroy());
    const flaw = flawOf(socket, this.#options.security.clients);
    if (flaw === undefined) this.#options.onClient(socket);
    else {
      this.#options.onRefused(socket.remoteAddress ?? "", flaw);
      socket.destroy();
    }
  }

  #failed(error: Error & { readonly code?: string }, socket: TLSSocket): void {
    const sourceIp = socket.remoteAddress;
    socket.destroy();
    if (sourceIp !== undefined) this.#options.onRefused(sourceIp, reasonOf(error));
  }
}
