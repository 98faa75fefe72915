/** Istio `mesh.v1alpha1.ProxyConfig`: `defaultConfig` of the MeshConfig, and the annotation `proxy.istio.io/config`. */
import { type InterceptionMode, NO_PROXY_CONFIG, type ProxyConfig } from "../mesh-config.ts";
import { caCertificatesPem } from "./ca-certificates.ts";
import { PROXY_CONFIG, yamlText } from "./embedded-yaml.ts";
import { childOf, type RawMap } from "./raw-node.ts";
import { type Cursor, type Decoder, type Fields, protoInteger, record, wrong } from "./reader.ts";
import { oneOf, only } from "./refine.ts";

/** Envoy counts hops in 32 bits; nobody has so many proxies. */
const MAX_HOPS = 100;

const CLIENT_CERT_HELP =
  "applications get a header with the peer of this connection alone (SANITIZE_SET): one that peers can write must not decide";

/** What peers say of certificates is replaced, always (SANITIZE_SET). */
function readClientCertDetails(fields: Fields, name: string): void {
  fields.optional(name, only(["SANITIZE_SET", "UNDEFINED"], CLIENT_CERT_HELP));
}

const topology: Decoder<Pick<ProxyConfig, "numTrustedProxies">> = record((fields) => {
  const numTrustedProxies = fields.optional("numTrustedProxies", protoInteger(0, MAX_HOPS));
  readClientCertDetails(fields, "forwardClientCertDetails");
  fields.refuse({ proxyProtocol: "the address of a client is its connection's, or in X-Forwarded-For by `numTrustedProxies`" });
  return { numTrustedProxies };
});

type Metadata = Pick<ProxyConfig, "tellsDenials" | "dnsCapture" | "dnsAutoAllocate">;

/** Istio hands `proxyMetadata` on to its proxies: what is Garrison's own stands there too. */
const METADATA = {
  GARRISON_DENIED_BY_HEADER: "tellsDenials",
  ISTIO_META_DNS_CAPTURE: "dnsCapture",
  ISTIO_META_DNS_AUTO_ALLOCATE: "dnsAutoAllocate",
} as const satisfies Record<string, keyof Metadata>;

const METADATA_HELP = `of \`proxyMetadata\`, Garrison reads ${Object.keys(METADATA)
  .map((key) => `\`${key}\``)
  .join(", ")} alone`;

const proxyMetadata: Decoder<Partial<Metadata>> = record((fields) => {
  const { node } = fields.cursor;
  const said = Object.entries(METADATA).flatMap(([key, name]) => {
    const value = fields.optional(key, oneOf(["true", "false"]));
    return value === undefined ? [] : [[name, value === "true"] as const];
  });
  if (node.kind === "map") fields.tellUnused(unusedKeys(node), METADATA_HELP);
  return Object.fromEntries(said);
});

function unusedKeys({ entries }: RawMap): readonly string[] {
  return entries.map(({ key }) => key).filter((key) => !Object.hasOwn(METADATA, key));
}

const UNUSED_HEADERS = [
  "requestId",
  "server",
  "attemptCount",
  "envoyDebugHeaders",
  "metadataExchangeHeaders",
  "preserveHttp1HeaderCase",
  "xForwardedHost",
  "xForwardedPort",
];

const proxyHeaders: Decoder<true> = record((fields) => {
  readClientCertDetails(fields, "forwardedClientCert");
  fields.refuse({ setCurrentClientCertDetails: "applications get the peer's SPIFFE ID (`URI`)" });
  fields.tellUnused(UNUSED_HEADERS);
  return true;
});

const REFUSED = {
  privateKeyProvider: "keys are in the proxy's memory: remove the field",
  connectionSettings: "say what becomes of paths with `pathNormalization` of the MeshConfig; the limits of connections are fixed",
  customConfigFile: "a proxy's configuration comes from the control plane alone: remove the field",
  proxyBootstrapTemplatePath: "a proxy's configuration comes from the control plane alone: remove the field",
};

/** None of them concerns who may do what. */
const UNUSED = [
  "availabilityZone",
  "binaryPath",
  "concurrency",
  "configPath",
  "discoveryAddress",
  "discoveryRefreshDelay",
  "drainDuration",
  "envoyAccessLogService",
  "envoyMetricsService",
  "envoyMetricsServiceAddress",
  "extraStatTags",
  "fileFlushInterval",
  "fileFlushMinSizeKb",
  "holdApplicationUntilProxyStarts",
  "image",
  "meshId",
  "parentShutdownDuration",
  "proxyAdminPort",
  "proxyStatsMatcher",
  "readinessProbe",
  "runtimeValues",
  "sds",
  "serviceCluster",
  "statNameLength",
  "statsCompression",
  "statsdUdpAddress",
  "statusPort",
  "terminationDrainDuration",
  "tracing",
  "tracingServiceName",
  "zipkinAddress",
];

const interceptionMode: Decoder<InterceptionMode> = (cursor) => {
  const mode = oneOf(["REDIRECT", "NONE", "TPROXY"])(cursor);
  if (mode !== "TPROXY") return mode;
  return wrong(cursor, "GAR0004", "is not supported: `TPROXY`", "use REDIRECT: applications see connections from their own proxy");
};

function readProxyConfig(fields: Fields): ProxyConfig {
  const mode = fields.optional("interceptionMode", interceptionMode);
  const gateway = fields.optional("gatewayTopology", topology);
  fields.optional("proxyHeaders", proxyHeaders);
  const { tellsDenials, ...metadata } = fields.optional("proxyMetadata", proxyMetadata) ?? {};
  fields.optional("controlPlaneAuthPolicy", only(["MUTUAL_TLS"], "proxies reach the control plane by mutual TLS"));
  fields.refuse(REFUSED);
  fields.tellUnused(UNUSED);
  const numTrustedProxies = gateway?.numTrustedProxies;
  return { numTrustedProxies, tellsDenials, ...metadata, ...(mode === undefined ? {} : { interceptionMode: mode }) };
}

/** `defaultConfig` of the MeshConfig. */
export const meshProxyConfig: Decoder<ProxyConfig> = record((fields) => {
  const roots = fields.optional("caCertificatesPem", caCertificatesPem) ?? [];
  return { ...readProxyConfig(fields), ...(roots.length === 0 ? {} : { caCertificatesPem: roots }) };
});

const ONE_WORKLOAD = "roots are the whole mesh's: name them in `caCertificates` of the MeshConfig";

/** Of one workload. */
const proxyConfig: Decoder<ProxyConfig> = record((fields) => {
  fields.refuse({ caCertificatesPem: ONE_WORKLOAD });
  return readProxyConfig(fields);
});

const annotation = yamlText(proxyConfig, NO_PROXY_CONFIG);

/** Of the object at the cursor; undefined where there is no annotation, or it is wrong and told. */
export function annotatedProxyConfig({ node, report }: Cursor): ProxyConfig | undefined {
  const text = childOf(childOf(childOf(node, "metadata"), "annotations"), PROXY_CONFIG);
  if (text === undefined) return undefined;
  return annotation({ node: text, path: PROXY_CONFIG, report });
}
