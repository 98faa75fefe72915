/** The secrets that a gateway's listeners name, with their contents: kept apart from its policy, which is shown to people. */
import type { SecretText } from "../core/secret-text.ts";
import { serversOf } from "../mesh/gateways.ts";
import type { MeshSnapshot } from "../mesh/snapshot.ts";
import { caSecret, certificateSecret, secretNamesOf } from "./gateway-policy.ts";
import type { WorkloadPolicy } from "./workload-policy.ts";

/** All PEM. */
export type GatewaySecret =
  | { readonly kind: "certificate"; readonly name: string; readonly chain: string; readonly key: SecretText }
  | { readonly kind: "ca"; readonly name: string; readonly ca: string; readonly crl: string | undefined };

/** The Secrets that the servers of gateways may name, by `NAMESPACE/NAME`, whether or not they are there: nobody else's is of any use. */
export function namedSecrets(snapshot: MeshSnapshot): ReadonlySet<string> {
  if (snapshot.gateways.length === 0) return new Set();
  const names = [...snapshot.workloads.values()].flatMap((workload) =>
    serversOf(snapshot, workload).flatMap(({ server: { tls } }) => {
      if (tls === undefined || tls.mode === "ISTIO_MUTUAL") return [];
      const { credentialName, caCredentialName = `${credentialName}-cacert` } = tls;
      const named = tls.mode === "SIMPLE" ? [credentialName] : [credentialName, caCredentialName];
      return named.map((name) => `${workload.namespace}/${name}`);
    }),
  );
  return new Set(names);
}

/** What the workload's proxy needs, and nothing else of the mesh; none for a workload that is no gateway. */
export function gatewaySecrets(snapshot: MeshSnapshot, { gateway }: WorkloadPolicy): readonly GatewaySecret[] {
  if (gateway === undefined) return [];
  const wanted = new Set(secretNamesOf(gateway.listeners));
  return [...snapshot.secrets.values()].flatMap(({ meta, chain, key, ca, crl }): GatewaySecret[] => {
    const [certificate, authority] = [certificateSecret(meta.namespace, meta.name), caSecret(meta.namespace, meta.name)];
    return [
      ...(wanted.has(certificate) && chain !== undefined && key !== undefined
        ? [{ kind: "certificate", name: certificate, chain, key } as const]
        : []),
      ...(wanted.has(authority) && ca !== undefined ? [{ kind: "ca", name: authority, ca, crl } as const] : []),
    ];
  });
}
