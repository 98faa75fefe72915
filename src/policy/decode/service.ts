/** Kubernetes `v1` Service. */
import type { ObjectMeta, ServiceObject, ServicePort } from "../model.ts";
import { dnsLabel, portName } from "./kubernetes-name.ts";
import { labels, NO_LABELS } from "./labels.ts";
import { LIMITS } from "./limits.ts";
import { protocolOfPort, serverFirst, unsaid } from "./port-protocol.ts";
import { childOf } from "./raw-node.ts";
import { type Decoder, type Fields, integer, list, record, text, wrong } from "./reader.ts";
import { ipAddress, only } from "./refine.ts";

const number = integer(1, 65_535);

/** A number, or the name of a port of the workload. */
const targetPort: Decoder<number | string> = (cursor) => {
  const { node } = cursor;
  return node.kind === "scalar" && typeof node.value === "string" ? portName(cursor) : number(cursor);
};

const UNSUPPORTED_OF_PORT = { nodePort: "ports on nodes are not supported: use `type: ClusterIP`" };

const port: Decoder<ServicePort> = record((fields) => {
  const name = fields.optional("name", dnsLabel) ?? "";
  const clientPort = fields.required("port", number);
  const workloadPort = fields.optional("targetPort", targetPort);
  const appProtocol = fields.optional("appProtocol", text);
  fields.optional("protocol", only(["TCP"], "only TCP is supported"));
  fields.refuse(UNSUPPORTED_OF_PORT);
  if (clientPort === undefined) return undefined;
  const protocol = protocolOfPort(name, appProtocol);
  return {
    name,
    port: clientPort,
    targetPort: workloadPort ?? clientPort,
    protocol,
    ...unsaid(name, appProtocol),
    ...serverFirst(name, appProtocol),
    place: fields.cursor.node.place,
  };
});

/** Kubernetes: with several ports each has a name, and neither names nor numbers come twice. */
const ports: Decoder<readonly ServicePort[]> = (cursor) => {
  const decoded = list(port, { min: 1, max: LIMITS.ports })(cursor);
  if (decoded === undefined || decoded.length < 2) return decoded;
  if (decoded.some(({ name }) => name === ""))
    return wrong(cursor, "GAR0005", "has several ports, one of them without a `name`", "name each port");
  if (new Set(decoded.map(({ name }) => name)).size < decoded.length)
    return wrong(cursor, "GAR0007", "has a name twice", "give each port a name of its own");
  if (new Set(decoded.map((each) => each.port)).size < decoded.length)
    return wrong(cursor, "GAR0007", "has a port twice", "give each port a number of its own");
  return decoded;
};

const UNSUPPORTED = {
  externalName: "services outside the mesh are not supported",
  externalIPs: "addresses outside the mesh are not supported",
  externalTrafficPolicy: "traffic from outside the mesh is not supported",
  loadBalancerIP: "load balancers are not supported",
  loadBalancerClass: "load balancers are not supported",
  loadBalancerSourceRanges: "load balancers are not supported: write an AuthorizationPolicy with `ipBlocks`",
  allocateLoadBalancerNodePorts: "load balancers are not supported",
  healthCheckNodePort: "load balancers are not supported",
  sessionAffinityConfig: "session affinity is not supported",
  trafficDistribution: "all endpoints of a service are used alike: remove the field",
};

function readSameForAll(fields: Fields): void {
  fields.optional("type", only(["ClusterIP"], "use `ClusterIP`: the mesh serves its own workloads only"));
  fields.optional("sessionAffinity", only(["None"], "session affinity is not supported"));
  fields.optional("internalTrafficPolicy", only(["Cluster"], "all endpoints of a service are used alike"));
  // Addresses say their family; and entries have no readiness.
  fields.accept("ipFamilies", "ipFamilyPolicy", "publishNotReadyAddresses");
}

/** `None` and an empty text stand for no address. */
const clusterIp: Decoder<readonly string[]> = (cursor) => {
  const { node } = cursor;
  if (node.kind === "scalar" && (node.value === "None" || node.value === "")) return [];
  const address = ipAddress(cursor);
  return address === undefined ? undefined : [address];
};

/** Captured traffic names a service by its virtual address; everybody else goes to the endpoints themselves. */
function readAddresses(fields: Fields): Pick<ServiceObject, "addresses" | "headless"> {
  const first = fields.optional("clusterIP", clusterIp) ?? [];
  const all = (fields.optional("clusterIPs", list(clusterIp, { max: 2 })) ?? []).flat();
  const addresses = [...new Set([...first, ...all])];
  if (addresses.length > 0) return { addresses };
  return isNone(fields) ? { headless: true } : {};
}

function isNone({ cursor: { node } }: Fields): boolean {
  const said = childOf(node, "clusterIP");
  return said?.kind === "scalar" && said.value === "None";
}

const spec = record((fields) => {
  const selector = fields.optional("selector", labels) ?? NO_LABELS;
  const decoded = fields.required("ports", ports);
  const addresses = readAddresses(fields);
  readSameForAll(fields);
  fields.refuse(UNSUPPORTED);
  return decoded === undefined ? undefined : { selector, ports: decoded, ...addresses };
});

const EXPORT_TO = "networking.istio.io/exportTo";

/** Names of namespaces, `.`, `*`, or `~` for none, by commas. What is none of them sees nothing. */
export function exportToOf({ annotations }: Pick<ObjectMeta, "annotations">): Pick<ServiceObject, "exportTo"> {
  const said = (annotations.get(EXPORT_TO) ?? "").split(",").map((name) => name.trim());
  const exportTo = said.filter((name) => name !== "");
  return exportTo.length === 0 ? {} : { exportTo };
}

export function decodeService(root: Fields, meta: ObjectMeta): ServiceObject | undefined {
  const decoded = root.required("spec", spec);
  return decoded === undefined ? undefined : { kind: "Service", meta, ...decoded, ...exportToOf(meta) };
}
