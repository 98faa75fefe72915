/**
 * Node proxies, as Istio's ztunnel: one on each node, which asks for the certificates of the workloads beside it. It may have those of the pods
 * of its own node and no others, so that a node that was taken over gives away no more than what runs there (Istio `security/pkg/server/ca/node_auth.go`).
 */
import { AppError } from "../core/error.ts";
import { formatSpiffeId, type SpiffeId } from "../identity/spiffe-id.ts";
import type { BoundPod, Proof } from "./authenticators.ts";

/** A pod that has been given to a node. */
export interface PlacedPod {
  readonly uid: string;
  readonly node: string;
  readonly serviceAccount: string;
}

/** Where the pods of a cluster are, as the API server says. */
export interface PodPlaces {
  find(namespace: string, name: string): PlacedPod | undefined;
  /** Whether a pod with this account, which has not ended, is on the node. */
  runsOn(node: string, namespace: string, serviceAccount: string): boolean;
}

export interface NodeProxiesOptions {
  /** `NAMESPACE/SERVICE-ACCOUNT` of the node proxies. */
  readonly accounts: ReadonlySet<string>;
  readonly pods: PodPlaces;
  /** Whether the service account of an identity exists. */
  readonly knows: (identity: SpiffeId) => boolean;
}

/** Istio's words, and why. */
export function impersonationRefused(why: string): AppError {
  return new AppError("unauthenticated", `request impersonation authentication failure: ${why}`);
}

export class NodeProxies {
  readonly #options: NodeProxiesOptions;

  constructor(options: NodeProxiesOptions) {
    this.#options = options;
  }

  /** Throws `unauthenticated` unless the caller is a node proxy, and a pod with the identity runs on the node of the caller's own pod. */
  check({ identity, pod }: Proof, asked: SpiffeId): void {
    const { accounts, pods, knows } = this.#options;
    const { namespace, serviceAccount } = asked;
    if (!accounts.has(`${identity.namespace}/${identity.serviceAccount}`))
      throw impersonationRefused("the caller is neither a registration authority nor a node proxy");
    if (identity.trustDomain !== asked.trustDomain) throw impersonationRefused("the identity is of another trust domain");
    const node = this.#nodeOf(identity, pod);
    if (knows(asked) && pods.runsOn(node, namespace, serviceAccount)) return;
    throw impersonationRefused(`no pod of \`${formatSpiffeId(asked)}\` runs on the caller's node \`${node}\``);
  }

  /** Of the very pod that the token is bound to: a token that was carried elsewhere is good for the node that it came from, and no longer than its pod is there. */
  #nodeOf({ namespace, serviceAccount }: SpiffeId, bound: BoundPod | undefined): string {
    if (bound === undefined) throw impersonationRefused("the caller's credential is not bound to a pod");
    const pod = this.#options.pods.find(namespace, bound.name);
    if (pod === undefined || pod.uid !== bound.uid)
      throw impersonationRefused(`the caller's pod \`${namespace}/${bound.name}\` is not there`);
    if (pod.serviceAccount !== serviceAccount) throw impersonationRefused("the caller's pod has another service account");
    if (bound.node !== undefined && bound.node !== pod.node)
      throw impersonationRefused("the caller's credential is of another node than its pod");
    return pod.node;
  }
}
