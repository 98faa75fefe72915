/** Objects that tests of clusters begin with. */

/** Service accounts, each a document. */
export function serviceAccounts(namespace: string, names: readonly string[]): string {
  const account = (name: string) => `---\napiVersion: v1\nkind: ServiceAccount\nmetadata: { name: ${name}, namespace: ${namespace} }\n`;
  return names.map(account).join("");
}

/** A namespace, and service accounts of it, each a document. */
export function namespaceWith(namespace: string, accounts: readonly string[] = []): string {
  return `---\napiVersion: v1\nkind: Namespace\nmetadata: { name: ${namespace} }\n${serviceAccounts(namespace, accounts)}`;
}

/** A Service of the namespace `shop` for the pods with the label `app: NAME`, a document. `port` is the pods'; its own is 80. */
export function service(name: string, port: number, clusterIP = "None"): string {
  return `---
apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: shop }
spec: { clusterIP: ${clusterIP}, selector: { app: ${name} }, ports: [{ name: http, port: 80, targetPort: ${port} }] }
`;
}

/** Where such a Service is served: the addresses of pods of the slice's own cluster, by their names. */
export function slice(name: string, port: number, pods: Readonly<Record<string, string>>, ready = true) {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: `${name}-1`, namespace: "shop", labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    ports: [{ name: "http", port, protocol: "TCP" }],
    endpoints: Object.entries(pods).map(([pod, address]) => ({
      addresses: [address],
      conditions: { ready },
      targetRef: { kind: "Pod", name: pod, namespace: "shop" },
    })),
  };
}
