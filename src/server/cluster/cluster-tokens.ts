/**
 * Whose token it is, by the API server of the cluster that the caller names (Istio's metadata `clusterid`). The name only chooses who is asked: a
 * cluster vouches for tokens that it issued itself, so that a token of one, sent with the name of another, is nobody's.
 */
import type { TokenVerifier } from "../../ca/authenticators.ts";
import { AppError } from "../../core/error.ts";
import type { RemoteClusters } from "../../sources/kubernetes/remote/remote-clusters.ts";

/** Reviews at one other cluster at a time: one that does not answer holds up no more callers than these. */
const MAX_AT_ONCE = 16;

export interface ClusterTokensOptions {
  /** The own cluster's name, and who reviews its tokens. */
  readonly name: string;
  readonly own: TokenVerifier;
  /** Undefined where there are none. */
  readonly others: Pick<RemoteClusters, "voucher"> | undefined;
  /** `NAMESPACE/NAME` of accounts for which no other cluster vouches: registration authorities, who may be anybody, even the control plane. */
  readonly never: ReadonlySet<string>;
}

export class ClusterTokens implements TokenVerifier {
  readonly #options: ClusterTokensOptions;
  readonly #underWay = new Map<string, number>();

  constructor(options: ClusterTokensOptions) {
    this.#options = options;
  }

  /** Without a name, the own cluster is asked. Throws as a verifier does, and `unauthenticated` for a cluster that nobody knows. */
  async verify(token: string, expected: { readonly audience: string; readonly cluster?: string }): ReturnType<TokenVerifier["verify"]> {
    const { name: own, own: verifier, others, never } = this.#options;
    const { cluster } = expected;
    if (cluster === undefined || cluster === own) return verifier.verify(token, expected);
    const voucher = others?.voucher(cluster);
    if (voucher === undefined)
      throw new AppError("unauthenticated", `the token was refused: there is no cluster \`${cluster.slice(0, 128)}\``);
    const account = await this.#inTurn(cluster, () => voucher.reviewer.verify(token, expected));
    if (voucher.namespaces?.has(account.namespace) === false)
      throw new AppError(
        "unauthenticated",
        `the token was refused: cluster \`${cluster}\` does not speak for namespace \`${account.namespace}\``,
      );
    if (never.has(`${account.namespace}/${account.name}`))
      throw new AppError(
        "unauthenticated",
        `the token was refused: no other cluster speaks for the registration authority \`${account.namespace}/${account.name}\``,
      );
    // Its pods and nodes are not those of the own cluster, which node proxies speak for.
    return { namespace: account.namespace, name: account.name, cluster };
  }

  async #inTurn<T>(cluster: string, review: () => Promise<T>): Promise<T> {
    const count = this.#underWay.get(cluster) ?? 0;
    if (count >= MAX_AT_ONCE)
      throw new AppError("resource-exhausted", `cluster \`${cluster}\` is asked about as many tokens as it may at once`, {
        retryAfterMs: 1_000,
      });
    this.#underWay.set(cluster, count + 1);
    try {
      return await review();
    } finally {
      this.#underWay.set(cluster, (this.#underWay.get(cluster) ?? 1) - 1);
    }
  }
}
