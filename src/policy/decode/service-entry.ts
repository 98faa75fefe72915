/** Istio `networking.v1.ServiceEntry`. */
import { parseIpAddress, parseIpBlock } from "../ip-block.ts";
import type { EntryEndpoint, ObjectMeta, ServiceEntryObject, ServicePort } from "../model.ts";
import { dnsLabel, dnsSubdomain } from "./kubernetes-name.ts";
import { labels, NO_LABELS, sidecarSelector } from "./labels.ts";
import { LIMITS } from "./limits.ts";
import { unsaid } from "./port-protocol.ts";
import { type Cursor, type Decoder, type Fields, integer, list, record, text, wrong } from "./reader.ts";
import { oneOf, parsed } from "./refine.ts";
import { quote } from "./report.ts";
import { exportTo, hosts, parseHost, subjectAltNames } from "./server-name.ts";
import { protocol, saidProtocol } from "./sidecar.ts";
import { endpointPorts, NO_PORTS, UNSUPPORTED_OF_ENDPOINT } from "./workload-entry.ts";

type Spec = Omit<ServiceEntryObject, "kind" | "meta">;
type Resolution = Spec["resolution"];

// === Ports ===

const number = integer(1, 65_535);

const port: Decoder<ServicePort> = record((fields) => {
  const clientPort = fields.required("number", number);
  const name = fields.optional("name", dnsLabel) ?? "";
  const named = fields.optional("protocol", protocol);
  const targetPort = fields.optional("targetPort", number);
  if (clientPort === undefined) return undefined;
  const place = fields.cursor.node.place;
  const ports = { name, port: clientPort, targetPort: targetPort ?? clientPort };
  return { ...ports, ...saidProtocol(named, name), ...(named === undefined ? unsaid(name, undefined) : {}), place };
});

/** Istio: names and numbers are unique. */
const ports: Decoder<readonly ServicePort[]> = (cursor) => {
  const decoded = list(port, { min: 1, max: LIMITS.ports })(cursor);
  if (decoded === undefined || decoded.length < 2) return decoded;
  if (new Set(decoded.map(({ name }) => name)).size < decoded.length)
    return wrong(cursor, "GAR0007", "has a name twice, or none twice", "give each port a name of its own");
  if (new Set(decoded.map((each) => each.port)).size < decoded.length)
    return wrong(cursor, "GAR0007", "has a port twice", "give each port a number of its own");
  return decoded;
};

// === Endpoints ===

function address(resolution: Resolution): Decoder<string> {
  return (cursor) => {
    const value = text(cursor);
    if (value === undefined) return undefined;
    const parsed = parseIpAddress(value);
    if (parsed?.bytes.some((byte) => byte !== 0)) return value;
    const name = parsed === undefined ? parseHost(value) : undefined;
    if (name !== undefined && resolution !== "STATIC") return name;
    if (value.startsWith("unix://"))
      return wrong(
        cursor,
        "GAR0004",
        `is not supported: ${quote(value)}`,
        "Unix sockets of the client's machine are no services: write an address",
      );
    const help = name === undefined ? "write an IP address, or with `resolution: DNS` a DNS name" : "a DNS name needs `resolution: DNS`";
    return wrong(cursor, "GAR0007", `is not the address of an endpoint: ${quote(value)}`, help);
  };
}

function endpoint(resolution: Resolution): Decoder<EntryEndpoint> {
  return record((fields) => {
    const where = fields.required("address", address(resolution));
    const serviceAccount = fields.optional("serviceAccount", dnsSubdomain);
    const own = fields.optional("labels", labels) ?? NO_LABELS;
    const named = fields.optional("ports", endpointPorts) ?? NO_PORTS;
    fields.refuse(UNSUPPORTED_OF_ENDPOINT);
    if (where === undefined) return undefined;
    return { address: where, ports: named, labels: own, serviceAccount, place: fields.cursor.node.place };
  });
}

/** Istio: an endpoint may only name ports that the entry has. */
function checkPortNames(cursor: Cursor, list: readonly EntryEndpoint[], known: readonly ServicePort[]): void {
  const names = new Set(known.map(({ name }) => name));
  for (const { ports: named, place } of list)
    for (const name of named.keys())
      if (!names.has(name))
        cursor.report.add("GAR0007", place, `the endpoint has a port ${quote(name)}, which is none of the entry's \`ports\``);
}

/** Istio's rules of which form each resolution takes. */
function readEndpoints(fields: Fields, resolution: Resolution, known: readonly ServicePort[]): Spec["endpoints"] | undefined {
  const selector = fields.optional("workloadSelector", sidecarSelector);
  const listed = fields.optional("endpoints", list(endpoint(resolution), { max: LIMITS.endpoints }));
  const own = listed ?? [];
  checkPortNames(fields.cursor, own, known);
  if (fields.has("workloadSelector") && fields.has("endpoints"))
    return wrong(fields.cursor, "GAR0007", "has both `workloadSelector` and `endpoints`", "keep one of them");
  if (fields.has("workloadSelector")) {
    if (resolution !== "STATIC")
      return wrong(fields.cursor, "GAR0007", "has a `workloadSelector` and is resolved by DNS", "write `resolution: STATIC`");
    return selector === undefined ? undefined : { kind: "selected", selector };
  }
  if (resolution === "STATIC" && !fields.has("endpoints"))
    return wrong(
      fields.cursor,
      "GAR0005",
      "has neither `endpoints` nor a `workloadSelector`",
      "say where the service is, or write `resolution: DNS`",
    );
  if (resolution === "DNS_ROUND_ROBIN" && own.length > 1)
    return wrong(fields.cursor, "GAR0007", "has several endpoints with `resolution: DNS_ROUND_ROBIN`", "write `resolution: DNS`");
  return { kind: "inline", list: own };
}

// === The entry ===

const RESOLUTION_HELP =
  "traffic is not captured, so there is no address that the application called: write STATIC with `endpoints`, or DNS";

/** Without the field Istio takes NONE: the address that the application called. */
const resolution: Decoder<Resolution> = (cursor) => {
  const value = oneOf(["STATIC", "DNS", "DNS_ROUND_ROBIN", "NONE", "DYNAMIC_DNS"])(cursor);
  if (value === "NONE" || value === "DYNAMIC_DNS") return wrong(cursor, "GAR0004", `is not supported: ${quote(value)}`, RESOLUTION_HELP);
  return value;
};

/** A virtual address of the service, or a block of them. */
const addressBlock = parsed((value) => parseIpBlock(value).text, "an IP address or CIDR block", "write it as `10.1.2.3` or `10.1.0.0/16`");

const spec: Decoder<Spec> = record((fields) => {
  const names = fields.required("hosts", hosts);
  const known = fields.required("ports", ports);
  const location = fields.optional("location", oneOf(["MESH_EXTERNAL", "MESH_INTERNAL"])) ?? "MESH_EXTERNAL";
  const how = fields.required("resolution", resolution, RESOLUTION_HELP);
  const endpoints = readEndpoints(fields, how ?? "DNS", known ?? []);
  const sans = fields.optional("subjectAltNames", subjectAltNames) ?? [];
  const visible = fields.optional("exportTo", exportTo) ?? [];
  const addresses = fields.optional("addresses", list(addressBlock, { max: LIMITS.names })) ?? [];
  if (names === undefined || known === undefined || how === undefined || endpoints === undefined) return undefined;
  return {
    hosts: [...new Set(names)],
    location,
    resolution: how,
    ports: known,
    endpoints,
    subjectAltNames: sans,
    ...(addresses.length === 0 ? {} : { addresses: [...new Set(addresses)] }),
    exportTo: visible,
  };
});

export function decodeServiceEntry(root: Fields, meta: ObjectMeta): ServiceEntryObject | undefined {
  const decoded = root.required("spec", spec);
  return decoded === undefined ? undefined : { kind: "ServiceEntry", meta, ...decoded };
}
