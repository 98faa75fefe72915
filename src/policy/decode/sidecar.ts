/** Istio `networking.v1.Sidecar`: the proxy's listeners. */
import type { OutboundTrafficPolicy } from "../mesh-config.ts";
import type { EgressHost, EgressListener, EgressScope, IngressListener, ObjectMeta, ServicePort, SidecarObject } from "../model.ts";
import { dnsLabel, isDnsLabel, isDnsSubdomain } from "./kubernetes-name.ts";
import { NO_LABELS, sidecarSelector } from "./labels.ts";
import { LIMITS } from "./limits.ts";
import { parseProtocol, protocolOfPort, serverFirst } from "./port-protocol.ts";
import { type Decoder, type Fields, integer, list, record, text, wrong } from "./reader.ts";
import { ipAddress, oneOf, only } from "./refine.ts";
import { quote } from "./report.ts";
import { defaultEndpoint, UNIX_SCHEME, unixEndpoint } from "./socket-address.ts";

type ListenerPort = IngressListener["port"];

/** What a port's bytes are, and who begins. */
export type SaidProtocol = Pick<ServicePort, "protocol" | "serverFirst">;

/** A protocol by Istio's name. */
export const protocol: Decoder<SaidProtocol> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  const known = parseProtocol(value);
  return known === undefined
    ? wrong(cursor, "GAR0007", `is not allowed: ${quote(value)}`, "use HTTP, HTTP2, GRPC, GRPC-WEB, TCP, TLS, HTTPS, MONGO, MYSQL or REDIS")
    : { protocol: known, ...serverFirst(value, undefined) };
};

/** By `protocol`, or else the name; of TCP, the name may say more. */
export function saidProtocol(named: SaidProtocol | undefined, name: string): SaidProtocol {
  const said = named ?? { protocol: protocolOfPort(name, undefined) };
  return said.protocol === "tcp" ? { ...said, ...serverFirst(name, undefined) } : said;
}

/** A port; 0 stands for none, where a Unix socket needs none. */
function portOf(smallest: 0 | 1): Decoder<ListenerPort> {
  return record((fields) => {
    const read = integer(smallest, 65_535);
    const number = smallest === 0 ? (fields.optional("number", read) ?? 0) : fields.required("number", read);
    const name = fields.optional("name", dnsLabel) ?? "";
    const named = fields.optional("protocol", protocol);
    fields.refuse({ targetPort: "write the application's port into `defaultEndpoint`" });
    return number === undefined ? undefined : { number, name, ...saidProtocol(named, name) };
  });
}

const CAPTURE_HELP = "whether traffic is captured is said of the workload, by `interceptionMode`: use DEFAULT or NONE";

/** Whether the listener is said to be bound to its port, wherever it stands. DEFAULT is what the workload is. */
function isBound(fields: Fields): boolean {
  return fields.optional("captureMode", only(["NONE", "DEFAULT"], CAPTURE_HELP)) === "NONE";
}

const UNSUPPORTED_OF_INGRESS = {
  tls: "peers are authenticated by mutual TLS: write a PeerAuthentication",
  connectionPool: "limits of connections are not supported",
};

const ingressListener: Decoder<IngressListener> = record((fields) => {
  const port = fields.required("port", portOf(1));
  const bind = fields.optional("bind", ipAddress);
  const endpoint = fields.required("defaultEndpoint", defaultEndpoint, "it says where the application listens, such as `127.0.0.1:8080`");
  // A captured workload's listeners are told by their ports, bound or not.
  isBound(fields);
  fields.refuse(UNSUPPORTED_OF_INGRESS);
  if (port === undefined || endpoint === undefined) return undefined;
  return { port, bind, defaultEndpoint: endpoint, place: fields.cursor.node.place };
});

const egressBind: Decoder<EgressListener["bind"]> = (cursor) => {
  const { node } = cursor;
  if (node.kind === "scalar" && typeof node.value === "string" && node.value.startsWith(UNIX_SCHEME)) return unixEndpoint(cursor);
  const host = ipAddress(cursor);
  return host === undefined ? undefined : { kind: "address", host };
};

const NAMESPACE_WORDS: ReadonlySet<string> = new Set([".", "*", "~"]);

const egressHost: Decoder<EgressHost> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  const [namespace = "", host = "", ...rest] = value.split("/");
  const domain = host === "*" ? "any" : host.startsWith("*.") ? host.slice(2) : host;
  const isNamespace = NAMESPACE_WORDS.has(namespace) || isDnsLabel(namespace);
  if (rest.length === 0 && isNamespace && isDnsSubdomain(domain)) return { namespace, host };
  return wrong(
    cursor,
    "GAR0007",
    `is not NAMESPACE/HOST: ${quote(value)}`,
    "write it as `shop/cart.shop.svc.cluster.local`, `./*` or `*/*`",
  );
};

type Egress = { readonly kind: "listener"; readonly listener: EgressListener } | { readonly kind: "scope"; readonly scope: EgressScope };

const BIND_HELP = "say the `port` of the listener; without `bind` too, it says what captured traffic reaches";

/** Without a `bind`, a listener is on loopback: only its own workload may use it. */
function bindOf(fields: Fields): EgressListener["bind"] | undefined {
  return fields.has("bind") ? fields.optional("bind", egressBind) : { kind: "address", host: "127.0.0.1" };
}

/** Without a port it catches all captured traffic, as in Istio. */
const egress: Decoder<Egress> = record((fields) => {
  const bind = bindOf(fields);
  const port = fields.optional("port", portOf(bind?.kind === "unix" ? 0 : 1));
  const hosts = fields.required("hosts", list(egressHost, { min: 1, max: LIMITS.hosts }));
  const bound = isBound(fields) || fields.has("bind");
  const { place } = fields.cursor.node;
  if (!fields.has("port")) {
    if (bound) return wrong(fields.cursor, "GAR0005", "is bound and has no `port`", BIND_HELP);
    return hosts === undefined ? undefined : { kind: "scope", scope: { hosts, place } };
  }
  if (bind === undefined || port === undefined || hosts === undefined) return undefined;
  return { kind: "listener", listener: { port, bind, hosts, ...(bound ? {} : { capturable: true }), place } };
});

export const outboundTrafficPolicy: Decoder<OutboundTrafficPolicy> = record((fields) => {
  fields.refuse({ egressProxy: "traffic to unknown destinations goes to them, or nowhere: remove the field" });
  return fields.optional("mode", oneOf(["REGISTRY_ONLY", "ALLOW_ANY"])) ?? "REGISTRY_ONLY";
});

const UNSUPPORTED = { inboundConnectionPool: "limits of connections are not supported" };

const spec = record((fields) => {
  const bounds = { max: LIMITS.ports };
  const selector = fields.optional("workloadSelector", sidecarSelector) ?? NO_LABELS;
  const ingress = fields.optional("ingress", list(ingressListener, bounds)) ?? [];
  const all = fields.optional("egress", list(egress, bounds)) ?? [];
  const policy = fields.optional("outboundTrafficPolicy", outboundTrafficPolicy);
  fields.refuse(UNSUPPORTED);
  const listeners = all.flatMap((each) => (each.kind === "listener" ? [each.listener] : []));
  const scopes = all.flatMap((each) => (each.kind === "scope" ? [each.scope] : []));
  return {
    selector,
    ingress,
    egress: listeners,
    ...(scopes.length === 0 ? {} : { scopes }),
    ...(policy === undefined ? {} : { outboundTrafficPolicy: policy }),
  };
});

export function decodeSidecar(root: Fields, meta: ObjectMeta): SidecarObject | undefined {
  const decoded = root.required("spec", spec);
  return decoded === undefined ? undefined : { kind: "Sidecar", meta, ...decoded };
}
