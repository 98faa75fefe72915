/**
 * What a cluster says of itself: namespaces, service accounts, services and where they are served, pods. Most of what they hold concerns others, so only
 * what the mesh needs is read; what cannot be served (UDP, `ExternalName`) is left out. A sound API server has checked them. Another cluster's may be anybody's:
 * what no sound one lets pass is left out too, before it comes into every proxy's configuration.
 */
import type { Place } from "../../core/diagnostic.ts";
import { isDnsLabel, isDnsSubdomain } from "../../policy/decode/kubernetes-name.ts";
import { protocolOfPort, serverFirst } from "../../policy/decode/port-protocol.ts";
import { exportToOf } from "../../policy/decode/service.ts";
import { parseIpAddress } from "../../policy/ip-block.ts";
import type {
  EndpointSliceObject,
  MeshObject,
  ObjectMeta,
  PodObject,
  ServiceObject,
  ServicePort,
  SliceEndpoint,
} from "../../policy/model.ts";
import { type ApiObject, isPlain } from "./api-objects.ts";

type Plain = Readonly<Record<string, unknown>>;

function child(record: unknown, key: string): unknown {
  return isPlain(record) ? record[key] : undefined;
}

function text(record: unknown, key: string): string {
  const value = child(record, key);
  return typeof value === "string" ? value : "";
}

function items(record: unknown, key: string): readonly Plain[] {
  const value = child(record, key);
  return Array.isArray(value) ? value.filter(isPlain) : [];
}

function stringMap(record: unknown, key: string): ReadonlyMap<string, string> {
  const value = child(record, key);
  if (!isPlain(value)) return new Map();
  return new Map(Object.entries(value).flatMap(([name, each]): [string, string][] => (typeof each === "string" ? [[name, each]] : [])));
}

/** A port's number; undefined for what is none. */
function portNumber(value: unknown): number | undefined {
  return typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 65_535 ? value : undefined;
}

/** Of a port, as Kubernetes allows it; empty for none. */
function isPortName(name: string): boolean {
  return name === "" || isDnsLabel(name);
}

function isTcp(port: Plain): boolean {
  return (text(port, "protocol") || "TCP") === "TCP";
}

function metaOf({ metadata, body }: ApiObject, place: Place): ObjectMeta {
  const created = Date.parse(text(body.metadata, "creationTimestamp"));
  return {
    name: metadata.name,
    namespace: metadata.namespace,
    labels: stringMap(body.metadata, "labels"),
    annotations: stringMap(body.metadata, "annotations"),
    created: Number.isNaN(created) ? 0 : created,
    place,
  };
}

function portOf(port: Plain, place: Place): readonly ServicePort[] {
  const number = portNumber(port.port);
  const name = text(port, "name");
  if (number === undefined || !isTcp(port) || !isPortName(name)) return [];
  const target = port.targetPort;
  const appProtocol = text(port, "appProtocol");
  return [
    {
      name,
      port: number,
      targetPort: portNumber(target) ?? (typeof target === "string" && target !== "" ? target : number),
      protocol: protocolOfPort(name, appProtocol === "" ? undefined : appProtocol),
      ...serverFirst(name, appProtocol === "" ? undefined : appProtocol),
      place,
    },
  ];
}

function service(object: ApiObject, place: Place): ServiceObject | undefined {
  const { spec } = object.body;
  if (text(spec, "type") === "ExternalName") return undefined;
  const ports = items(spec, "ports").flatMap((port) => portOf(port, place));
  if (ports.length === 0) return undefined;
  const meta = metaOf(object, place);
  return {
    kind: "Service",
    meta,
    ...exportToOf(meta),
    selector: stringMap(spec, "selector"),
    ports,
    bySlices: true,
    ...families(spec),
    ...addressesOf(spec),
  };
}

/** The API server says the families of every Service. */
function families(spec: unknown): Pick<ServiceObject, "bothFamilies"> {
  const all = child(spec, "ipFamilies");
  return Array.isArray(all) && all.includes("IPv4") && all.includes("IPv6") ? { bothFamilies: true } : {};
}

/** Of a headless service there are none. */
function addressesOf(spec: unknown): Pick<ServiceObject, "addresses"> {
  const all = child(spec, "clusterIPs");
  const addresses = (Array.isArray(all) ? all : [child(spec, "clusterIP")]).filter(
    (each): each is string => typeof each === "string" && parseIpAddress(each) !== undefined,
  );
  return addresses.length === 0 ? {} : { addresses };
}

/** Conditions that are not said: ready, and not ending (discovery.k8s.io/v1 EndpointConditions). */
function sliceEndpoint(endpoint: Plain): readonly SliceEndpoint[] {
  const { addresses, conditions, targetRef } = endpoint;
  const hostname = text(endpoint, "hostname");
  const address = Array.isArray(addresses) ? addresses[0] : undefined;
  if (typeof address !== "string" || parseIpAddress(address) === undefined) return [];
  const ready = child(conditions, "ready") !== false;
  const draining = child(conditions, "terminating") === true && child(conditions, "serving") !== false;
  const pod = text(targetRef, "kind") === "Pod" ? text(targetRef, "name") : undefined;
  return [{ address, ready, draining, pod, ...(isDnsLabel(hostname) ? { hostname } : {}) }];
}

/** The label of the Service that a slice is of. */
const SERVICE_NAME = "kubernetes.io/service-name";

function endpointSlice(object: ApiObject, place: Place): EndpointSliceObject | undefined {
  const meta = metaOf(object, place);
  const service = meta.labels.get(SERVICE_NAME);
  if (service === undefined || text(object.body, "addressType") === "FQDN") return undefined;
  const ports = items(object.body, "ports").flatMap((port): [string, number][] => {
    const number = portNumber(port.port);
    return number !== undefined && isTcp(port) ? [[text(port, "name"), number]] : [];
  });
  return { kind: "EndpointSlice", meta, service, endpoints: items(object.body, "endpoints").flatMap(sliceEndpoint), ports: new Map(ports) };
}

/** TCP ports by name, of sidecars that are init containers with `restartPolicy: Always` too; the first of a name, as Kubernetes takes it. */
function podPorts(spec: unknown): ReadonlyMap<string, number> {
  const ports = new Map<string, number>();
  for (const container of [...items(spec, "containers"), ...items(spec, "initContainers")]) {
    for (const port of items(container, "ports")) {
      const name = text(port, "name");
      const number = portNumber(port.containerPort);
      if (name === "" || number === undefined || !isTcp(port) || ports.has(name)) continue;
      ports.set(name, number);
    }
  }
  return ports;
}

function isReady(status: unknown): boolean {
  return items(status, "conditions").some((condition) => text(condition, "type") === "Ready" && text(condition, "status") === "True");
}

/** Of a pod in a cluster of both families: `podIPs` has one of each, and `podIP` is its first. Nothing else counts. */
function secondAddress(status: unknown, first: string): Pick<PodObject, "secondAddress"> {
  const family = parseIpAddress(first)?.family;
  const found = items(status, "podIPs").map((each) => text(each, "ip"));
  const second = found.find((address) => (parseIpAddress(address)?.family ?? family) !== family);
  return second === undefined ? {} : { secondAddress: second };
}

/** A pod that has ended, or has no address yet, is no workload. */
function pod(object: ApiObject, place: Place): PodObject | undefined {
  const { spec, status } = object.body;
  const phase = text(status, "phase");
  const address = text(status, "podIP");
  const serviceAccount = text(spec, "serviceAccountName") || "default";
  if (phase === "Succeeded" || phase === "Failed" || parseIpAddress(address) === undefined || !isDnsSubdomain(serviceAccount))
    return undefined;
  return {
    kind: "Pod",
    meta: metaOf(object, place),
    address,
    ...secondAddress(status, address),
    ports: podPorts(spec),
    serviceAccount,
    ready: isReady(status) && child(object.body.metadata, "deletionTimestamp") === undefined,
    ...(child(spec, "hostNetwork") === true ? { hostNetwork: true } : {}),
  };
}

/** The kinds whose names are parts of DNS names. */
const NAMED_BY_LABEL: ReadonlySet<string> = new Set(["Namespace", "Service"]);

function isNamed(kind: string, { metadata: { name, namespace } }: ApiObject): boolean {
  return (NAMED_BY_LABEL.has(kind) ? isDnsLabel : isDnsSubdomain)(name) && (kind === "Namespace" || isDnsLabel(namespace));
}

/** Undefined for what the mesh has no use for. */
export function observe(kind: string, object: ApiObject, place: Place): MeshObject | undefined {
  if (!isNamed(kind, object)) return undefined;
  if (kind === "Namespace") return { kind, meta: { ...metaOf(object, place), namespace: "" } };
  if (kind === "ServiceAccount") return { kind, meta: metaOf(object, place) };
  if (kind === "Service") return service(object, place);
  if (kind === "EndpointSlice") return endpointSlice(object, place);
  return kind === "Pod" ? pod(object, place) : undefined;
}
