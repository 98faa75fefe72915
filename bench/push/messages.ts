/** What the benchmark and the process of its proxies tell each other. */

export interface ProxyIdentity {
  readonly namespace: string;
  readonly name: string;
  /** PEM. */
  readonly key: string;
  readonly chain: string;
}

export type Order =
  | {
      readonly kind: "connect";
      readonly port: number;
      readonly roots: string;
      readonly variant: "delta" | "sotw";
      readonly proxies: readonly ProxyIdentity[];
    }
  | { readonly kind: "count" };

/** What arrived since the last count; times are of `process.hrtime`, which all processes of a machine share. */
export interface Arrivals {
  /** Which proxies got something, by their place among all. */
  readonly proxies: readonly number[];
  readonly responses: number;
  readonly bytes: number;
  /** Of each proxy that got something, when it had the last of it, in milliseconds. */
  readonly last: readonly number[];
  /** Proxies that have all that they first asked for. */
  readonly complete: number;
}
