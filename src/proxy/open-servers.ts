/** The servers that a workload's proxy has connections of mutual TLS to, whichever part of it opened them, and those it may have none to. */
import type { Socket } from "node:net";

export class OpenServers {
  /** Each with the digest of the certificate by which its server proved itself. */
  readonly #open = new Map<Socket, string>();
  #revoked: ReadonlySet<string> = new Set();

  /** Revoked certificates of the moment, by the SHA-256 of their DER in hex. */
  get revoked(): ReadonlySet<string> {
    return this.#revoked;
  }

  /** Keeps a connection among those that a revocation ends, until it closes. */
  add(socket: Socket, digest: string): void {
    this.#open.set(socket, digest);
    socket.once("close", () => this.#open.delete(socket));
    // Revoked between its handshake and now.
    if (this.#revoked.has(digest)) socket.destroy();
  }

  /** From now on these are revoked: what is open to such a server ends at once, also where a policy has replaced what opened it, and nothing else. */
  revoke(digests: ReadonlySet<string>): void {
    this.#revoked = digests;
    for (const [socket, digest] of [...this.#open]) if (digests.has(digest)) socket.destroy();
  }
}
