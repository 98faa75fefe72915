/** Istio `networking.v1.Gateway`. */
import type { GatewayServer, ServerHost } from "../gateway.ts";
import type { GatewayObject, ObjectMeta } from "../model.ts";
import { gatewayTls, type ReadTls } from "./gateway-tls.ts";
import { isHostPattern } from "./host-pattern.ts";
import { dnsLabel, isDnsLabel } from "./kubernetes-name.ts";
import { labels } from "./labels.ts";
import { LIMITS } from "./limits.ts";
import { type Decoder, type Fields, integer, list, record, text, wrong } from "./reader.ts";
import { ipAddress } from "./refine.ts";
import { quote } from "./report.ts";

interface ServerPort {
  readonly number: number;
  /** Whether clients speak TLS. */
  readonly tls: boolean;
}

/** GRPC is HTTP/2, and every port takes both versions. */
const PLAIN: ReadonlySet<string> = new Set(["HTTP", "HTTP2", "GRPC", "GRPC-WEB"]);

const protocol: Decoder<{ readonly tls: boolean }> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  const name = value.toUpperCase();
  if (name === "HTTPS") return { tls: true };
  if (PLAIN.has(name)) return { tls: false };
  const help = "use HTTP, HTTP2, GRPC or HTTPS: gateways carry HTTP only";
  return wrong(cursor, ["TCP", "TLS", "MONGO", "MYSQL", "REDIS"].includes(name) ? "GAR0004" : "GAR0007", `is ${quote(value)}`, help);
};

const port: Decoder<ServerPort> = record((fields) => {
  const number = fields.required("number", integer(1, 65_535));
  const spoken = fields.required("protocol", protocol);
  // It is for people and for metrics.
  fields.optional("name", dnsLabel);
  fields.refuse({ targetPort: "write the port of the Service that leads to the gateway, or the port to listen on, into `number`" });
  return number === undefined || spoken === undefined ? undefined : { number, tls: spoken.tls };
});

const serverHost: Decoder<ServerHost> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  const parts = value.split("/");
  const [namespace, host] = parts.length === 1 ? ["*", value] : parts;
  const known = namespace === "*" || namespace === "." || isDnsLabel(namespace ?? "");
  if (parts.length <= 2 && namespace !== undefined && known && isHostPattern(host ?? ""))
    return { namespace, host: (host ?? "").toLowerCase() };
  return wrong(cursor, "GAR0007", `is not a host: ${quote(value)}`, "write `www.example.org`, `*.example.org`, `*`, or NAMESPACE/HOST");
};

const UNSUPPORTED = { defaultEndpoint: "write a VirtualService that says where requests go" };

/** What the port and the TLS settings say together. */
function agreed(
  fields: Fields,
  { tls }: ServerPort,
  settings: ReadTls | undefined,
): Pick<GatewayServer, "tls" | "httpsRedirect"> | undefined {
  const redirect = settings?.httpsRedirect === true;
  if (tls && settings?.tls === undefined)
    return wrong(fields.cursor, "GAR0005", "is HTTPS and has no `tls.mode`", "add `tls: { mode: SIMPLE, credentialName: NAME }`");
  if (tls && redirect)
    return wrong(fields.cursor, "GAR0007", "redirects to https, which it is", "put `httpsRedirect` to the server of port 80");
  if (!tls && settings?.tls !== undefined)
    return wrong(fields.cursor, "GAR0007", "has a TLS mode and a protocol without TLS", "set `protocol: HTTPS`");
  return { tls: settings?.tls, httpsRedirect: redirect };
}

const server: Decoder<GatewayServer> = record((fields) => {
  const read = fields.required("port", port);
  const name = fields.optional("name", text) ?? "";
  const bind = fields.optional("bind", ipAddress);
  const hosts = fields.required("hosts", list(serverHost, { min: 1, max: LIMITS.hosts }));
  const settings = fields.optional("tls", gatewayTls);
  fields.refuse(UNSUPPORTED);
  if (read === undefined || hosts === undefined || (fields.has("tls") && settings === undefined)) return undefined;
  const security = agreed(fields, read, settings);
  return security === undefined ? undefined : { name, port: read.number, bind, hosts, ...security, place: fields.cursor.node.place };
});

/** An empty selector would make a gateway of every workload. */
const selector: Decoder<GatewayObject["selector"]> = (cursor) => {
  const read = labels(cursor);
  return read?.size === 0 ? wrong(cursor, "GAR0007", "must not be empty", "name the labels of the gateway's workloads") : read;
};

const spec = record((fields) => {
  const selected = fields.required("selector", selector, "name the labels of the gateway's workloads, such as `istio: ingressgateway`");
  const servers = fields.required("servers", list(server, { min: 1, max: LIMITS.ports }));
  return selected === undefined || servers === undefined ? undefined : { selector: selected, servers };
});

export function decodeGateway(root: Fields, meta: ObjectMeta): GatewayObject | undefined {
  const decoded = root.required("spec", spec);
  return decoded === undefined ? undefined : { kind: "Gateway", meta, ...decoded };
}
