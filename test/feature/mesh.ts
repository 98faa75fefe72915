/** A small mesh in YAML: `shop/client` may GET /open of `shop/server`, and nothing else. */
import { pickPort } from "../fakes/ports.ts";

export interface MeshPorts {
  /** Where the server's proxy accepts peers. */
  readonly inbound: number;
  /** Where the server's application listens. */
  readonly application: number;
  /** Where the client's proxy takes calls to the server. */
  readonly outbound: number;
}

export const CLIENT = "shop/client";
export const SERVER = "shop/server";
export const CLIENT_IDENTITY = "spiffe://cluster.local/ns/shop/sa/client";
export const SERVER_IDENTITY = "spiffe://cluster.local/ns/shop/sa/server";

/** The policy that says so, and what decides then. */
export const OPEN_PATHS = '["/open"]';
export const OPEN_RULE = "shop/client-reads[0]";

export const NAMESPACES = `apiVersion: v1
kind: Namespace
metadata: { name: shop }
`;

/** A workload of `shop` on this machine. */
export function account(name: string): string {
  return `apiVersion: v1
kind: ServiceAccount
metadata: { name: ${name}, namespace: shop }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${name}, namespace: shop }
spec: { address: 127.0.0.1, serviceAccount: ${name}, labels: { app: ${name} } }
`;
}

export function sidecar(name: string, listeners: string): string {
  return `---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: ${name}, namespace: shop }
spec:
  workloadSelector: { labels: { app: ${name} } }
${listeners}`;
}

/** `shop/server`, at its proxy's port. */
export function service(inbound: number): string {
  return `---
apiVersion: v1
kind: Service
metadata: { name: server, namespace: shop }
spec:
  selector: { app: server }
  ports:
    - { name: http, port: 80, targetPort: ${inbound} }
`;
}

/** How the server's proxy meets callers, for the whole namespace. */
export function peerAuthentication(mode: "STRICT" | "PERMISSIVE" | "DISABLE"): string {
  return `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: shop }
spec: { mtls: { mode: ${mode} } }
`;
}

/** The policy that lets the client GET these paths of the server. */
export function allowPaths(paths: string): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: client-reads, namespace: shop }
spec:
  selector: { matchLabels: { app: server } }
  action: ALLOW
  rules:
    - from: [{ source: { principals: ["cluster.local/ns/shop/sa/client"] } }]
      to: [{ operation: { methods: ["GET"], paths: ${paths} } }]
`;
}

/** The files of the mesh. */
export function meshFiles({ inbound, application, outbound }: MeshPorts): Readonly<Record<string, string>> {
  const ingress = `  ingress:
    - port: { number: ${inbound}, protocol: HTTP, name: http }
      defaultEndpoint: 127.0.0.1:${application}
`;
  const egress = `  egress:
    - port: { number: ${outbound}, protocol: HTTP, name: http }
      bind: 127.0.0.1
      hosts: ["shop/server.shop.svc.cluster.local"]
`;
  return {
    "namespaces.yaml": NAMESPACES,
    "server.yaml": account("server") + service(inbound) + sidecar("server", ingress),
    "client.yaml": account("client") + sidecar("client", egress),
    "peers.yaml": peerAuthentication("STRICT"),
    "policy.yaml": allowPaths(OPEN_PATHS),
  };
}

/** Where nothing listens: for tests that start no proxy. */
export const UNUSED_PORTS: MeshPorts = { inbound: 20_001, application: 20_002, outbound: 20_003 };

export async function pickPorts(): Promise<MeshPorts> {
  const [inbound, application, outbound] = await Promise.all([pickPort(), pickPort(), pickPort()]);
  return { inbound, application, outbound };
}
