/** Bounds on everything that comes from outside. Times in milliseconds. */
export interface Limits {
  /** From accepting a connection to the end of its TLS handshake. */
  readonly handshakeMs: number;
  /** For the first byte of a connection whose kind only that byte tells. */
  readonly firstByteMs: number;
  /** For the head of an HTTP/1.1 request, from its first byte. */
  readonly headMs: number;
  /** A connection or tunnel on which nothing moves. */
  readonly idleMs: number;
  /** For a connection to an endpoint, with its handshake. */
  readonly connectMs: number;
  /** Of one listener. */
  readonly connections: number;
  /** To one endpoint; each HTTP/1.1 request in flight needs one. */
  readonly upstreamConnections: number;
  readonly headBytes: number;
  readonly headers: number;
  /** Open at a time on one HTTP/2 connection. */
  readonly streams: number;
  /** Streams that a client may reset at once, and per second after that (CVE-2023-44487). */
  readonly resetBurst: number;
  readonly resetRate: number;
  /** How long an HTTP/1.1 connection to an endpoint is kept without a request, where the endpoint does not say. */
  readonly pooledMs: number;
  /** How long an endpoint that could not be connected to comes last. */
  readonly ejectionMs: number;
}

/** Envoy's values where it has one: header sizes and counts, idle time, streams as Envoy's edge guide advises. */
export const DEFAULT_LIMITS: Limits = {
  handshakeMs: 10_000,
  firstByteMs: 5_000,
  headMs: 30_000,
  idleMs: 3_600_000,
  connectMs: 5_000,
  connections: 10_000,
  upstreamConnections: 1_024,
  headBytes: 60 * 1024,
  headers: 100,
  streams: 100,
  resetBurst: 200,
  resetRate: 50,
  pooledMs: 30_000,
  ejectionMs: 5_000,
};
