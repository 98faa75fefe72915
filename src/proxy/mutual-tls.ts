/** The server's side of mutual TLS: whom it lets in, and why not the others. */
import { constants } from "node:crypto";
import type { Socket } from "node:net";
import { Server, type TLSSocket } from "node:tls";
import { AppError } from "../core/error.ts";
import type { Credentials } from "./credentials.ts";
import { isOfTrustDomains, type Peer, peerOf } from "./peer-certificate.ts";
import { chainOfClient } from "./trusted-bundles.ts";

/** A handshake that did not come to its end. */
export interface RefusedHandshake {
  readonly sourceIp: string;
  /** A SPIFFE ID that was proved, and is not welcome; otherwise empty. */
  readonly caller: string;
  readonly reason: string;
}

export interface MutualTlsOptions {
  readonly credentials: Credentials;
  readonly handshakeMs: number;
  /** For bytes that are passed on: a peer may end its side and still read. */
  readonly allowHalfOpen: boolean;
  /** Of the moment. */
  readonly trustDomains: () => readonly string[];
  readonly chooseAlpn: (offered: readonly string[]) => string | undefined;
  readonly onPeer: (socket: TLSSocket, peer: Peer) => void;
  readonly onRefused: (refused: RefusedHandshake) => void;
}

/** Node's words for it are OpenSSL's error strings; the code alone says it. */
function reasonOf(error: Error & { readonly code?: string }): string {
  if (error.code === "ERR_SSL_HTTP_REQUEST" || error.code === "ERR_SSL_WRONG_VERSION_NUMBER")
    return "plaintext where mutual TLS is required";
  if (error.code === "ERR_TLS_HANDSHAKE_TIMEOUT") return "the TLS handshake took too long";
  return `the TLS handshake failed: ${error.code ?? "unknown error"}`;
}

/** Throws `unauthenticated` for a peer without a certificate that leads to a trusted root. */
function verifiedPeer(socket: TLSSocket, credentials: Credentials): Peer {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) throw new AppError("unauthenticated", "the peer presented no certificate");
  if (!socket.authorized)
    throw new AppError(
      "unauthenticated",
      `the peer's certificate is not trusted: ${socket.authorizationError?.message ?? String(socket.authorizationError)}`,
    );
  credentials.checkDomain(chainOfClient(certificate), "client");
  return peerOf(certificate.raw);
}

export class MutualTls {
  readonly #options: MutualTlsOptions;
  readonly #server: Server;
  readonly #unsubscribe: () => void;

  constructor(options: MutualTlsOptions) {
    const { credentials, handshakeMs, allowHalfOpen, chooseAlpn } = options;
    this.#options = options;
    this.#server = new Server({
      ...credentials.serverContext,
      requestCert: true,
      // The verdict on the certificate is read in #secured, before anything is read from the peer: refused by Node
      // itself, a connection would leave no trace of where it came from.
      rejectUnauthorized: false,
      // A resumed session would keep a verdict from before a change of roots or policy (CVE-2022-21654). Without
      // tickets the sessions would be in a store of ours, and there is none.
      secureOptions: constants.SSL_OP_NO_TICKET,
      handshakeTimeout: handshakeMs,
      allowHalfOpen,
      ALPNCallback: ({ protocols }) => chooseAlpn(protocols),
    });
    this.#server.on("secureConnection", (socket) => this.#secured(socket));
    this.#server.on("tlsClientError", (error, socket) => this.#failed(error, socket));
    this.#unsubscribe = credentials.subscribe((context) =>
      this.#server.setSecureContext({ ...context, secureOptions: constants.SSL_OP_NO_TICKET }),
    );
  }

  /** Begins the handshake on a connection of which nothing has been read, or what was read has been put back. */
  serve(socket: Socket): void {
    if (this.#options.credentials.material === undefined) socket.destroy();
    else this.#server.emit("connection", socket);
  }

  /** No longer follows the credentials. */
  close(): void {
    this.#unsubscribe();
  }

  #secured(socket: TLSSocket): void {
    socket.on("error", () => socket.destroy());
    const { onPeer, onRefused, trustDomains, credentials } = this.#options;
    let caller = "";
    try {
      const peer = verifiedPeer(socket, credentials);
      caller = peer.identity;
      if (!isOfTrustDomains(caller, trustDomains())) throw new AppError("unauthenticated", "the peer's trust domain is not trusted here");
      onPeer(socket, peer);
    } catch (thrown) {
      onRefused({ sourceIp: socket.remoteAddress ?? "", caller, reason: AppError.from(thrown).message });
      socket.destroy();
    }
  }

  #failed(error: Error & { readonly code?: string }, socket: TLSSocket): void {
    const sourceIp = socket.remoteAddress;
    socket.destroy();
    // Of one who hung up in the middle Node has forgotten the address, and there is nothing to tell.
    if (sourceIp !== undefined) this.#options.onRefused({ sourceIp, caller: "", reason: reasonOf(error) });
  }
}
