/** A mesh in YAML with a gateway for outsiders, a proxy in the middle, and `shop/orders`, which trusts only these two. */
import type { OutsideCertificate } from "../fakes/outside-ca.ts";
import { sidecar } from "./mesh.ts";

export interface GatewayPorts {
  readonly http: number;
  readonly https: number;
  readonly middle: number;
  /** Of `shop/orders`: its proxy, and its application. */
  readonly orders: number;
  readonly application: number;
  /** Where the client's proxy takes calls to the middle. */
  readonly outbound: number;
}

export const ISSUER = "https://accounts.example.org";

function workload(name: string, labels = `{ app: ${name} }`): string {
  const [namespace, own] = name.split("/");
  return `apiVersion: v1
kind: ServiceAccount
metadata: { name: ${own}, namespace: ${namespace} }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${own}, namespace: ${namespace} }
spec: { address: 127.0.0.1, serviceAccount: ${own}, labels: ${labels.replace(name, own ?? "")} }
---
`;
}

/** Denied clients of its proxy are told the rule. */
function telling(text: string): string {
  const config = 'proxyMetadata: { GARRISON_DENIED_BY_HEADER: "true" }';
  return text.replace(/(kind: WorkloadEntry\nmetadata: \{ [^}]*) \}/, `$1, annotations: { proxy.istio.io/config: '${config}' } }`);
}

function indented(text: string): string {
  return text.trim().replaceAll("\n", "\n    ");
}

/** A Secret in `edge`. */
export function secret(name: string, parts: Readonly<Record<string, string>>): string {
  const lines = Object.entries(parts).map(([key, text]) => `  ${key}: |\n    ${indented(text)}\n`);
  return `apiVersion: v1\nkind: Secret\nmetadata: { name: ${name}, namespace: edge }\nstringData:\n${lines.join("")}---\n`;
}

export function tlsSecret(name: string, { cert, key }: OutsideCertificate): string {
  return secret(name, { "tls.crt": cert, "tls.key": key });
}

/** The gateway's workload, with so many proxies in front that are trusted to name the client. */
export function edgeWorkload(trustedProxies: number): string {
  const own = workload("edge/ingress", "{ app: ingress, gateway.networking.k8s.io/gateway-name: front }");
  const config = `gatewayTopology: { numTrustedProxies: ${trustedProxies} }`;
  return own.replace(
    "kind: WorkloadEntry\nmetadata: { name: ingress, namespace: edge }",
    `kind: WorkloadEntry\nmetadata: { name: ingress, namespace: edge, annotations: { proxy.istio.io/config: "${config}" } }`,
  );
}

function gateways({ http, https, middle }: GatewayPorts): string {
  return `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: public, namespace: edge }
spec:
  selector: { app: ingress }
  servers:
    - port: { number: ${https}, name: https, protocol: HTTPS }
      hosts: [shop.example.org]
      tls: { mode: SIMPLE, credentialName: shop-cert }
    - port: { number: ${https}, name: partners, protocol: HTTPS }
      hosts: [partners.example.org]
      tls: { mode: MUTUAL, credentialName: partners-cert }
    - port: { number: ${https}, name: broken, protocol: HTTPS }
      hosts: [broken.example.org]
      tls: { mode: SIMPLE, credentialName: broken-cert }
    - port: { number: ${http}, name: http, protocol: HTTP }
      hosts: ["*"]
      tls: { httpsRedirect: true }
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: middle, namespace: middle }
spec:
  selector: { app: proxy }
  servers:
    - port: { number: ${middle}, name: https, protocol: HTTPS }
      hosts: ["*"]
      tls: { mode: ISTIO_MUTUAL }
---
`;
}

const ROUTES = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: shop, namespace: edge }
spec:
  hosts: [shop.example.org, partners.example.org]
  gateways: [public]
  http:
    - match: [{ uri: { prefix: /orders } }, { uri: { exact: /health }, method: { exact: GET } }]
      route: [{ destination: { host: orders.shop.svc.cluster.local } }]
    - match: [{ uri: { exact: /headers }, headers: { x-two: { exact: "2" }, accept: { exact: "a,b" }, x-there: {} } }]
      route: [{ destination: { host: orders.shop.svc.cluster.local } }]
    - match: [{ uri: { prefix: /gone } }]
      route: [{ destination: { host: gone.shop.svc.cluster.local } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: onward, namespace: middle }
spec:
  hosts: ["*"]
  gateways: [middle]
  http: [{ route: [{ destination: { host: orders.shop.svc.cluster.local, port: { number: 80 } } }] }]
---
`;

/** Who may come through the gateway, by \`targetRefs\` or by \`selector\`; and what nobody may. */
export function edgePolicy(by: "targetRefs" | "selector", jwks: string): string {
  const where =
    by === "selector"
      ? "selector: { matchLabels: { app: ingress } }"
      : "targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: front }]";
  return `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: tokens, namespace: edge }
spec:
  ${where}
  jwtRules: [{ issuer: "${ISSUER}", jwks: '${jwks}', forwardOriginalToken: true }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: known, namespace: edge }
spec:
  ${where}
  rules:
    - from: [{ source: { requestPrincipals: ["*"] } }]
    - from: [{ source: { principals: ["*"] } }]
    - to: [{ operation: { hosts: [partners.example.org, "partners.example.org:*"] } }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: closed, namespace: edge }
spec:
  ${where}
  action: DENY
  rules: [{ to: [{ operation: { paths: [/orders/secret] } }] }]
---
`;
}

const POLICIES = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: shop }
spec: { mtls: { mode: STRICT } }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: orders, namespace: shop }
spec:
  selector: { matchLabels: { app: orders } }
  rules:
    - from: [{ source: { principals: [cluster.local/ns/edge/sa/ingress] } }]
    - from: [{ source: { principals: [cluster.local/ns/middle/sa/proxy] } }]
      to: [{ operation: { methods: [GET] } }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: middle, namespace: middle }
spec:
  selector: { matchLabels: { app: proxy } }
  rules: [{ from: [{ source: { principals: [cluster.local/ns/shop/sa/client] } }], to: [{ operation: { methods: [GET, POST] } }] }]
`;

function services({ middle, orders }: GatewayPorts): string {
  return `apiVersion: v1
kind: Service
metadata: { name: orders, namespace: shop }
spec: { selector: { app: orders }, ports: [{ name: http, port: 80, targetPort: ${orders} }] }
---
apiVersion: v1
kind: Service
metadata: { name: proxy, namespace: middle }
spec: { selector: { app: proxy }, ports: [{ name: http, port: ${middle} }] }
---
`;
}

function sidecars({ orders, application, outbound }: GatewayPorts): string {
  const ingress = `  ingress: [{ port: { number: ${orders}, protocol: HTTP, name: http }, defaultEndpoint: "127.0.0.1:${application}" }]
`;
  const egress = `  egress: [{ port: { number: ${outbound}, protocol: HTTP, name: http }, hosts: [middle/proxy.middle.svc.cluster.local] }]
`;
  return `${sidecar("orders", ingress)}${sidecar("client", egress)}---\n`;
}

const NAMESPACES = ["edge", "middle", "shop"].map((name) => `apiVersion: v1\nkind: Namespace\nmetadata: { name: ${name} }\n---\n`).join("");

/** All but the gateway's workload, its policies and its secrets. */
export function gatewayMesh(ports: GatewayPorts): string {
  return [
    NAMESPACES,
    telling(workload("middle/proxy")),
    telling(workload("shop/orders")),
    workload("shop/client"),
    services(ports),
    sidecars(ports),
    gateways(ports),
    ROUTES,
    POLICIES,
  ].join("");
}
