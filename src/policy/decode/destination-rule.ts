/** Istio `networking.v1.DestinationRule`: of its traffic policy, what says how a service is spoken to securely. */
import type { ClientTls, DestinationRuleObject, ObjectMeta, TlsPolicy } from "../model.ts";
import { clientTls } from "./client-tls.ts";
import { NO_LABELS, policySelector } from "./labels.ts";
import { LIMITS } from "./limits.ts";
import { type Decoder, type Fields, integer, list, partialRecord, record, text, wrong } from "./reader.ts";
import { quote } from "./report.ts";
import { exportTo, parseHost } from "./server-name.ts";

type Spec = Omit<DestinationRuleObject, "kind" | "meta">;

/** A short name, a DNS name, `*.SUFFIX` or `*`. */
const host: Decoder<string> = (cursor) => {
  const value = text(cursor);
  if (value === undefined || value === "*") return value;
  const suffix = value.startsWith("*.") ? value.slice(2) : value;
  if (parseHost(suffix) !== undefined) return value.toLowerCase();
  const help = "write a service's name, a DNS name, or `*.` before one";
  return wrong(cursor, "GAR0007", `is not a host: ${quote(value)}`, help);
};

const BALANCING = "all endpoints of a service are used alike";
const CONNECTIONS = "limits and settings of connections are the proxy's own";

/** They change how many connections are made and to which of equals, never to whom or how secured. */
const SET_ASIDE = {
  loadBalancer: BALANCING,
  connectionPool: CONNECTIONS,
  outlierDetection: "an endpoint that cannot be connected to is avoided for a while; there are no other checks",
  retryBudget: "requests of which nothing has been processed are tried again, twice at most",
};

const port = record((fields) => fields.required("number", integer(1, 65_535)));

type PortLevel = readonly [number, ClientTls | undefined];

const portLevel: Decoder<PortLevel> = record((fields) => {
  const number = fields.required("port", port);
  const tls = fields.optional("tls", clientTls);
  fields.setAside(SET_ASIDE);
  return number === undefined ? undefined : [number, tls];
});

/** One entry for a port; Istio takes the first. */
const portLevels: Decoder<ReadonlyMap<number, ClientTls | undefined>> = (cursor) => {
  const decoded = list(portLevel, { max: LIMITS.ports })(cursor);
  if (decoded === undefined) return undefined;
  const ports = new Map(decoded);
  return ports.size === decoded.length ? ports : wrong(cursor, "GAR0007", "has a port twice", "keep one entry for each port");
};

const NO_PORTS: TlsPolicy["ports"] = new Map();

const UNSUPPORTED = {
  tunnel: "connections are made to the endpoints themselves: there are no tunnels",
  proxyProtocol: "the PROXY protocol is not spoken",
};

const trafficPolicy: Decoder<TlsPolicy> = record((fields) => {
  const tls = fields.optional("tls", clientTls);
  const ports = fields.optional("portLevelSettings", portLevels) ?? NO_PORTS;
  fields.setAside(SET_ASIDE);
  fields.refuse(UNSUPPORTED);
  return { tls, ports };
});

/** A host that cannot be read could be any. */
const UNREADABLE: Spec = { host: "*", selector: NO_LABELS, exportTo: [], trafficPolicy: "invalid" };

function readSpec(fields: Fields): Spec {
  const policy = fields.optional("trafficPolicy", trafficPolicy);
  fields.setAside({ subsets: "they are for routes that name them, and there are none between workloads" });
  return {
    host: fields.required("host", host) ?? "*",
    selector: fields.optional("workloadSelector", policySelector) ?? NO_LABELS,
    exportTo: fields.optional("exportTo", exportTo) ?? [],
    trafficPolicy: policy ?? (fields.has("trafficPolicy") ? "invalid" : undefined),
  };
}

/** The rule, as far as it can be read. */
export function decodeDestinationRule(root: Fields, meta: ObjectMeta): DestinationRuleObject {
  return { kind: "DestinationRule", meta, ...(root.required("spec", partialRecord(readSpec)) ?? UNREADABLE) };
}
