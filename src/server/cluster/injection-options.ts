/** What a pod gets that is injected as it is made: of the own cluster, and of others, whose pods must know where the control plane is and say where they are. */
import type { InjectOptions } from "../../capture/inject/containers.ts";
import { AppError } from "../../core/error.ts";
import type { RemoteClusters } from "../../sources/kubernetes/remote/remote-clusters.ts";
import { formatHostPort } from "../listen.ts";
import type { AdmissionRequest } from "../webhook/admission-review.ts";
import type { ClusterPlace } from "./place.ts";

/** The function throws `invalid-configuration` for a pod that could never have a certificate. */
export function injectionOptions(
  own: InjectOptions,
  place: ClusterPlace,
  others: Pick<RemoteClusters, "voucher"> | undefined,
): (request: Pick<AdmissionRequest, "cluster" | "namespace">) => InjectOptions {
  const address = place.others?.controlPlane;
  return ({ cluster, namespace }) => {
    if (cluster === undefined || cluster === place.name) return own;
    const refuse = (what: string, help: string): AppError => new AppError("invalid-configuration", what, { help });
    const voucher = others?.voucher(cluster);
    if (voucher === undefined)
      throw refuse(
        `there is no cluster \`${cluster}\` in the mesh`,
        "let it join: `garrison clusters join` gives the control plane a Secret that names it",
      );
    if (voucher.namespaces?.has(namespace) === false)
      throw refuse(
        `cluster \`${cluster}\` does not speak for namespace \`${namespace}\`, so that its pods would get no certificate`,
        "name it in the annotation `garrison.dev/namespaces` of the cluster's Secret, or label the namespace `istio-injection: disabled`",
      );
    if (address === undefined)
      throw refuse(
        "the control plane does not know where pods of other clusters find it",
        "say it by `garrison serve --remote-control-plane` (the chart's `multiCluster.controlPlane`)",
      );
    return { ...own, cluster, controlPlane: formatHostPort(address) };
  };
}
