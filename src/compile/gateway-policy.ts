/** What a gateway enforces and where it leads: plain data, as the rest of a WorkloadPolicy. No private key is ever in it. */
import type { ClientCertificateRules, RouteMatch, TlsParameters } from "../policy/gateway.ts";

/** TLS of clients that are not of the mesh. Whatever certificate they have, it is no identity of the mesh. */
export interface OutsideSecurity extends TlsParameters {
  readonly kind: "outside";
  /** The secret with the server's certificate and key, as `certificateSecret` names it. */
  readonly certificate: string;
  /** What is asked of clients; undefined: no certificate. */
  readonly clients:
    | (ClientCertificateRules & {
        /** Whether a client may come without one. */
        readonly optional: boolean;
        /** The secret with the CA's certificates, as `caSecret` names it. */
        readonly ca: string;
      })
    | undefined;
}

/** `mesh`: mutual TLS with the workload's own certificate, as at a sidecar. */
export type ServerSecurity = { readonly kind: "plaintext" } | { readonly kind: "mesh" } | OutsideSecurity;

/** `forward` to a service of the gateway, as `HOST:PORT`; `https` is a redirect; `misdirected` is 421, `unavailable` 503. */
export type RouteAction =
  | { readonly kind: "forward"; readonly service: string }
  | { readonly kind: "https" }
  | { readonly kind: "misdirected" }
  | { readonly kind: "unavailable" };

export interface GatewayRoute {
  readonly match: RouteMatch;
  readonly action: RouteAction;
}

/** The routes of one Host: the first that matches counts, and without one the answer is 404. */
export interface HostRoutes {
  /** In lower case, without a port: a name, `*.DOMAIN` or `*`; the most specific of a server counts. */
  readonly host: string;
  readonly routes: readonly GatewayRoute[];
}

export interface ServerPolicy {
  /** Unique in the workload. */
  readonly name: string;
  readonly security: ServerSecurity;
  /** The server names (SNI) that choose this server, as `host` of HostRoutes; none: whatever no other server has. */
  readonly serverNames: readonly string[];
  readonly hosts: readonly HostRoutes[];
}

/** One address of a gateway: a single plaintext server, or several with TLS. */
export interface GatewayListener {
  /** `gateway_ADDRESS_PORT`. */
  readonly name: string;
  readonly bind: string;
  readonly port: number;
  /** At least one. At most one of them is of the mesh, and then the last. */
  readonly servers: readonly ServerPolicy[];
}

/** A server that is not served until the Secret that it names is there; its names lead to no other server. */
export interface ClosedServer extends Pick<ServerPolicy, "name" | "serverNames">, Pick<GatewayListener, "bind" | "port"> {
  /** `NAMESPACE/NAME`. */
  readonly secret: string;
}

/** The secret with a server's certificate and key. */
export function certificateSecret(namespace: string, name: string): string {
  return `${namespace}/${name}/certificate`;
}

/** The secret with CA certificates, and their revocation list if there is one. */
export function caSecret(namespace: string, name: string): string {
  return `${namespace}/${name}/ca`;
}

/** The secrets that listeners name. */
export function secretNamesOf(listeners: readonly GatewayListener[]): readonly string[] {
  const names = listeners.flatMap(({ servers }) =>
    servers.flatMap(({ security }) =>
      security.kind === "outside" ? [security.certificate, ...(security.clients === undefined ? [] : [security.clients.ca])] : [],
    ),
  );
  return [...new Set(names)];
}
