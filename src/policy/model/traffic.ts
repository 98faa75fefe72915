/** How proxies carry traffic: listeners, TLS to services, gateways and their routes. */
import type { Place } from "../../core/diagnostic.ts";
import type { GatewayServer, HttpRoute, SecretContents } from "../gateway.ts";
import type { OutboundTrafficPolicy } from "../mesh-config.ts";
import type { Endpoint, ObjectMeta, Selector, ServerName, ServicePort } from "./object.ts";

/** Istio `Sidecar.ingress[]`. */
export interface IngressListener {
  readonly port: { readonly number: number; readonly name: string } & Pick<ServicePort, "protocol" | "serverFirst">;
  /** The address to listen on; undefined takes the workload's own. */
  readonly bind: string | undefined;
  /** Where the application listens. */
  readonly defaultEndpoint: Endpoint;
  readonly place: Place;
}

/** Istio `Sidecar.egress[].hosts[]`: `NAMESPACE/HOST`; `.` is the Sidecar's own namespace, `*` any, `~` none. */
export interface EgressHost {
  readonly namespace: string;
  readonly host: string;
}

/** Istio `Sidecar.egress[]`, with a port. */
export interface EgressListener {
  readonly port: { readonly number: number; readonly name: string } & Pick<ServicePort, "protocol" | "serverFirst">;
  readonly bind: Endpoint | { readonly kind: "address"; readonly host: string };
  readonly hosts: readonly EgressHost[];
  /** Has no `bind` and is not said to be bound: for a captured workload it says what the port reaches, and is no listener. */
  readonly capturable?: true;
  readonly place: Place;
}

/** Istio `Sidecar.egress[]`, without a port: what captured traffic reaches. */
export interface EgressScope {
  readonly hosts: readonly EgressHost[];
  readonly place: Place;
}

export interface SidecarObject {
  readonly kind: "Sidecar";
  readonly meta: ObjectMeta;
  readonly selector: Selector;
  readonly ingress: readonly IngressListener[];
  readonly egress: readonly EgressListener[];
  /** Of captured traffic; absent where there is none. */
  readonly scopes?: readonly EgressScope[];
  /** Of captured traffic; absent leaves it to the mesh. */
  readonly outboundTrafficPolicy?: OutboundTrafficPolicy;
}

/** Files in PEM on the machine of the client's proxy. */
export interface ClientCertificateFiles {
  readonly clientCertificate: string;
  readonly privateKey: string;
}

/** Istio `ClientTLSSettings`: how clients speak to a service. */
export type ClientTls =
  | { readonly mode: "DISABLE" }
  | { readonly mode: "ISTIO_MUTUAL"; readonly subjectAltNames: readonly ServerName[]; readonly sni: string | undefined }
  | {
      readonly mode: "SIMPLE" | "MUTUAL";
      readonly subjectAltNames: readonly ServerName[];
      readonly sni: string | undefined;
      /** A file; undefined takes the roots that the machine trusts. */
      readonly caCertificates: string | undefined;
      readonly caCrl: string | undefined;
      /** Whoever answers is taken for the service. */
      readonly insecureSkipVerify: boolean;
      /** With MUTUAL, and only then. */
      readonly certificate: ClientCertificateFiles | undefined;
    };

/** What a DestinationRule says of TLS. */
export interface TlsPolicy {
  readonly tls: ClientTls | undefined;
  /** By the service's port. An entry replaces `tls`, also with nothing (Istio: port-level settings do not inherit). */
  readonly ports: ReadonlyMap<number, ClientTls | undefined>;
}

/** Istio `networking.v1.DestinationRule`. */
export interface DestinationRuleObject {
  readonly kind: "DestinationRule";
  readonly meta: ObjectMeta;
  /** As written, in lower case: a short name, a DNS name or `*.SUFFIX`. */
  readonly host: string;
  /** Of the clients in its own namespace that it is for; empty means all clients that see it. */
  readonly selector: Selector;
  readonly exportTo: readonly string[];
  /** Undefined where it has no traffic policy; `invalid` is closed: nothing is sent to the host. */
  readonly trafficPolicy: TlsPolicy | "invalid" | undefined;
}

/** Istio `networking.v1.Gateway`: listeners of the workloads that it selects. */
export interface GatewayObject {
  readonly kind: "Gateway";
  readonly meta: ObjectMeta;
  /** Never empty. */
  readonly selector: Selector;
  readonly servers: readonly GatewayServer[];
}

/** Istio `networking.v1.VirtualService`, attached to gateways: what becomes of requests to its hosts. */
export interface VirtualServiceObject {
  readonly kind: "VirtualService";
  readonly meta: ObjectMeta;
  /** In lower case: `*`, `*.DOMAIN` or a name. */
  readonly hosts: readonly string[];
  /** `NAMESPACE/NAME`. */
  readonly gateways: readonly string[];
  readonly http: readonly HttpRoute[];
}

/** Kubernetes Secret with certificates for outsiders. */
export interface SecretObject extends SecretContents {
  readonly kind: "Secret";
  readonly meta: ObjectMeta;
}
