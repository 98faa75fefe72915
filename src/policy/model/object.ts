/** What several kinds have in common. */
import type { Place } from "../../core/diagnostic.ts";

/** What every object has. `namespace` is empty only for kind Namespace. */
export interface ObjectMeta {
  readonly name: string;
  readonly namespace: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly annotations: ReadonlyMap<string, string>;
  /** Milliseconds since the epoch; 0 where nothing says (a file), so that order falls to the names. */
  readonly created: number;
  readonly place: Place;
}

/** `matchLabels` of a selector; no entry selects everything in scope (Istio `type.v1beta1.WorkloadSelector`). */
export type Selector = ReadonlyMap<string, string>;

/** What a policy names in `targetRefs`, instead of a selector: something of its own namespace. Only gateways have any of these here. */
export interface TargetRef {
  readonly kind: "Gateway" | "GatewayClass" | "Service" | "ServiceEntry";
  readonly name: string;
}

/** How a port's bytes are understood: from `appProtocol`, or the prefix of the port's name (Istio's protocol selection). */
export type Protocol = "http" | "http2" | "tcp";

export interface ServicePort {
  readonly name: string;
  /** The port that clients name. */
  readonly port: number;
  /** The workload's port: a number, or the name of an entry of WorkloadEntry `ports`. */
  readonly targetPort: number | string;
  readonly protocol: Protocol;
  /** Neither its name nor anything else says the protocol: it is TCP for that. */
  readonly unsaid?: true;
  /** The protocol begins with the server (MySQL, SMTP). */
  readonly serverFirst?: true;
  readonly place: Place;
}

export type Endpoint =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** A name that a server's certificate may hold. DNS names in lower case. */
export interface ServerName {
  readonly kind: "dns" | "ip" | "uri";
  readonly value: string;
}
