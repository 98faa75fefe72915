/** The cases of `test/corpus/client-tls`, and the mesh in which one client reaches the server of each. */
import { readFileSync } from "node:fs";
import { parse, stringify } from "yaml";

type Fields = Readonly<Record<string, unknown>>;

export interface ClientTlsCase {
  readonly name: string;
  readonly server: string;
  /** Of the port that the client uses. */
  readonly protocol?: "HTTP" | "HTTP2" | "TCP";
  /** `plaintext`, `tls`, `mesh-mtls`, `own-mtls`, or `refused`. */
  readonly expect: string;
  /** The name that the server is to be asked for. */
  readonly sni?: string;
  readonly tls?: Fields;
  readonly portLevelSettings?: readonly Fields[];
  /** Of a ServiceEntry, besides what is the same for all. */
  readonly entry?: Fields & { readonly endpoints?: readonly Fields[] };
  /** Of a WorkloadEntry. */
  readonly serviceAccount?: string;
  readonly labels?: Fields;
  /** Of the PeerAuthentication; without it, what the server does. */
  readonly mode?: string;
}

function read(name: string): readonly ClientTlsCase[] {
  return parse(readFileSync(new URL(`../corpus/client-tls/${name}`, import.meta.url), "utf8")) as readonly ClientTlsCase[];
}

export const MESH_CASES = read("mesh-services.yaml");
export const ENTRY_CASES = read("service-entries.yaml");

export function hostOf(index: number): string {
  return `case-${index}.example.com`;
}

/** What stands for a file in the cases, and its path. */
export type Files = Readonly<Record<string, string>>;

function destinationRule(name: string, host: string, { tls, portLevelSettings }: ClientTlsCase): readonly Fields[] {
  if (tls === undefined && portLevelSettings === undefined) return [];
  const trafficPolicy = { ...(tls === undefined ? {} : { tls }), ...(portLevelSettings === undefined ? {} : { portLevelSettings }) };
  return [
    { apiVersion: "networking.istio.io/v1", kind: "DestinationRule", metadata: { name, namespace: "shop" }, spec: { host, trafficPolicy } },
  ];
}

const NETWORKING = "networking.istio.io/v1";

function meshService(one: ClientTlsCase, index: number, port: number): readonly Fields[] {
  const name = `mesh-${index}`;
  const metadata = { name, namespace: "shop" };
  const labels = { app: name, ...one.labels };
  return [
    {
      apiVersion: NETWORKING,
      kind: "WorkloadEntry",
      metadata,
      spec: { address: "127.0.0.1", serviceAccount: one.serviceAccount ?? "server", labels },
    },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata,
      spec: { selector: { app: name }, ports: [{ name: "http", port: 80, targetPort: port }] },
    },
    {
      apiVersion: "security.istio.io/v1",
      kind: "PeerAuthentication",
      metadata,
      spec: { selector: { matchLabels: { app: name } }, portLevelMtls: { [port]: { mode: one.mode ?? one.server } } },
    },
    ...destinationRule(name, name, one),
  ];
}

function serviceEntry(one: ClientTlsCase, index: number, port: number): readonly Fields[] {
  const name = `entry-${index}`;
  const { endpoints = [{}], ...entry } = one.entry ?? {};
  const spec = {
    hosts: [hostOf(index)],
    resolution: "STATIC",
    ports: [{ number: 80, name: "main", protocol: one.protocol ?? "HTTP", targetPort: port }],
    endpoints: endpoints.map((endpoint) => ({ address: "127.0.0.1", ...endpoint })),
    ...entry,
  };
  return [
    { apiVersion: NETWORKING, kind: "ServiceEntry", metadata: { name, namespace: "shop" }, spec },
    ...destinationRule(name, hostOf(index), one),
  ];
}

/** Where the client's proxy listens for each case. */
export interface Listeners {
  readonly address: string;
  readonly mesh: readonly number[];
  readonly entries: readonly number[];
}

function egress(port: number, bind: string, host: string, protocol = "HTTP"): Fields {
  return { port: { number: port, name: "main", protocol }, bind, hosts: [`shop/${host}`] };
}

/** The YAML of the whole mesh. */
export function meshYaml(servers: ReadonlyMap<string, number>, { address, mesh, entries }: Listeners, files: Files): string {
  const portOf = (server: string) => servers.get(server) ?? 0;
  const listeners = [
    ...MESH_CASES.map((_, index) => egress(mesh[index] ?? 0, address, `mesh-${index}.shop.svc.cluster.local`)),
    ...ENTRY_CASES.map(({ protocol }, index) => egress(entries[index] ?? 0, address, hostOf(index), protocol)),
  ];
  const metadata = { name: "client", namespace: "shop" };
  const documents: readonly Fields[] = [
    {
      apiVersion: NETWORKING,
      kind: "WorkloadEntry",
      metadata,
      spec: { address: "127.0.0.1", serviceAccount: "client", labels: { app: "client" } },
    },
    { apiVersion: NETWORKING, kind: "Sidecar", metadata, spec: { workloadSelector: { labels: { app: "client" } }, egress: listeners } },
    ...MESH_CASES.flatMap((one, index) => meshService(one, index, portOf(one.server))),
    ...ENTRY_CASES.flatMap((one, index) => serviceEntry(one, index, portOf(one.server))),
  ];
  const text = documents.map((document) => stringify(document, { lineWidth: 0, version: "1.1" })).join("---\n");
  return text.replace(/\b[A-Z]+(?:_[A-Z]+)+\b/g, (word) => files[word] ?? word);
}
