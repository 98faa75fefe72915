/** What the benchmark and the process of the revoked client tell each other. */

/** A real proxy, at whose port the client has a connection open. */
export interface Server {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  readonly port: number;
}

/** Connect to all of these with this certificate (PEM), and ask until each refuses. */
export interface Order {
  readonly servers: readonly Server[];
  readonly key: string;
  readonly chain: string;
}

export interface Refusal {
  readonly workload: string;
  /** Milliseconds of `process.hrtime`, which all processes of a machine share. */
  readonly at: number;
}

/** Each serves, on a connection that stays open; then, each has refused once. */
export type Report = { readonly kind: "served" } | { readonly kind: "refused"; readonly refusals: readonly Refusal[] };

export const now = (): number => Number(process.hrtime.bigint()) / 1e6;
