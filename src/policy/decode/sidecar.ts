/** Istio `networking.v1.Sidecar`: the proxy's listeners. */
import type { EgressHost, EgressListener, IngressListener, ObjectMeta, Protocol, SidecarObject } from "../model.ts";
import { dnsLabel, isDnsLabel, isDnsSubdomain } from "./kubernetes-name.ts";
import { NO_LABELS, sidecarSelector } from "./labels.ts";
import { LIMITS } from "./limits.ts";
import { parseProtocol, protocolOfPort } from "./port-protocol.ts";
import { type Decoder, type Fields, integer, list, record, text, wrong } from "./reader.ts";
import { ipAddress, only } from "./refine.ts";
import { quote } from "./report.ts";
import { defaultEndpoint, UNIX_SCHEME, unixEndpoint } from "./socket-address.ts";

type ListenerPort = IngressListener["port"];

/** A protocol by Istio's name. */
export const protocol: Decoder<Protocol> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  return (
    parseProtocol(value) ??
    wrong(cursor, "GAR0007", `is not allowed: ${quote(value)}`, "use HTTP, HTTP2, GRPC, GRPC-WEB, TCP, TLS, HTTPS, MONGO, MYSQL or REDIS")
  );
};

/** A port; 0 stands for none, where a Unix socket needs none. */
function portOf(smallest: 0 | 1): Decoder<ListenerPort> {
  return record((fields) => {
    const read = integer(smallest, 65_535);
    const number = smallest === 0 ? (fields.optional("number", read) ?? 0) : fields.required("number", read);
    const name = fields.optional("name", dnsLabel) ?? "";
    const named = fields.optional("protocol", protocol);
    fields.refuse({ targetPort: "write the application's port into `defaultEndpoint`" });
    return number === undefined ? undefined : { number, name, protocol: named ?? protocolOfPort(name, undefined) };
  });
}

const CAPTURE_HELP = "traffic is not captured: use NONE, and let the application connect to the listener";

/** There is no capture, so a listener is always bound to its port, which is what both values come to. */
function readCaptureMode(fields: Fields): void {
  fields.optional("captureMode", only(["NONE", "DEFAULT"], CAPTURE_HELP));
}

const UNSUPPORTED_OF_INGRESS = {
  tls: "peers are authenticated by mutual TLS: write a PeerAuthentication",
  connectionPool: "limits of connections are not supported",
};

const ingressListener: Decoder<IngressListener> = record((fields) => {
  const port = fields.required("port", portOf(1));
  const bind = fields.optional("bind", ipAddress);
  const endpoint = fields.required("defaultEndpoint", defaultEndpoint, "it says where the application listens, such as `127.0.0.1:8080`");
  readCaptureMode(fields);
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

const CATCH_ALL_HELP = "give the listener a `port`: traffic is not captured, so there is nothing that it could catch";

/** Without a port, Istio's listener catches all captured traffic. Without a `bind`, ours is on loopback: only its own workload may use it. */
const egressListener: Decoder<EgressListener> = record((fields) => {
  const bind = fields.has("bind") ? fields.optional("bind", egressBind) : { kind: "address" as const, host: "127.0.0.1" };
  const port = fields.optional("port", portOf(bind?.kind === "unix" ? 0 : 1));
  const hosts = fields.required("hosts", list(egressHost, { min: 1, max: LIMITS.hosts }));
  readCaptureMode(fields);
  if (!fields.has("port")) return wrong(fields.cursor, "GAR0004", "has no `port`, which is not supported", CATCH_ALL_HELP);
  if (bind === undefined || port === undefined || hosts === undefined) return undefined;
  return { port, bind, hosts, place: fields.cursor.node.place };
});

const UNSUPPORTED = {
  outboundTrafficPolicy:
    "traffic is not captured, so an application reaches what its egress listeners name and connects to the rest itself",
  inboundConnectionPool: "limits of connections are not supported",
};

const spec = record((fields) => {
  const bounds = { max: LIMITS.ports };
  const selector = fields.optional("workloadSelector", sidecarSelector) ?? NO_LABELS;
  const ingress = fields.optional("ingress", list(ingressListener, bounds)) ?? [];
  const egress = fields.optional("egress", list(egressListener, bounds)) ?? [];
  fields.refuse(UNSUPPORTED);
  return { selector, ingress, egress };
});

export function decodeSidecar(root: Fields, meta: ObjectMeta): SidecarObject | undefined {
  const decoded = root.required("spec", spec);
  return decoded === undefined ? undefined : { kind: "Sidecar", meta, ...decoded };
}
