/** Istio `mesh.v1alpha1.MeshConfig`, as the ConfigMap `istio` holds it. */
import { parseTrustDomain, type TrustDomain } from "../../identity/trust-domain.ts";
import { DEFAULT_MESH_CONFIG, DEFAULT_MESH_TLS, type MeshConfig, NO_PROXY_CONFIG, type PathNormalization } from "../mesh-config.ts";
import { caCertificates } from "./ca-certificates.ts";
import { readExtensionProviders } from "./extension-providers.ts";
import { dnsLabel } from "./kubernetes-name.ts";
import { LIMITS } from "./limits.ts";
import { meshTls } from "./mesh-tls.ts";
import { meshProxyConfig } from "./proxy-config.ts";
import { boolean, type Decoder, type Fields, list, record } from "./reader.ts";
import { oneOf, only, parsed } from "./refine.ts";
import { quote } from "./report.ts";
import { exportTo } from "./server-name.ts";
import { outboundTrafficPolicy } from "./sidecar.ts";

const trustDomain = parsed<TrustDomain>(
  parseTrustDomain,
  "a trust domain",
  "write it as `cluster.local`: lower-case letters, digits, dots",
);

const MODES = ["DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"] as const;

const pathNormalization: Decoder<PathNormalization> = record((fields) => {
  const mode = fields.optional("normalization", oneOf(MODES)) ?? "DEFAULT";
  return mode === "DEFAULT" ? "BASE" : mode;
});

const autoMtls: Decoder<boolean> = (cursor) => {
  const value = boolean(cursor);
  const { node, path, report } = cursor;
  if (value === false) {
    const help = "with true, or without the field, plaintext is sent only where nothing else is taken";
    report.add("GAR0015", node.place, `${quote(path)} is false: proxies call each other in plaintext`, help);
  }
  return value;
};

/** What would have to be honoured, and is not. */
const REFUSED = {
  ca: "the control plane is the mesh's CA: remove the field",
  certificates: "certificates are for the identities of workloads only: remove the field",
  configSources: "all configuration comes from the folder: remove the field",
  discoverySelectors: "leave out of the folder what does not belong to the mesh",
  serviceEntryVisibility: "leave out of the folder what does not belong to the mesh",
  tlsDefaults: "say it where the TLS is: `meshMTLS` is for the TLS between workloads",
};

/** None of them concerns who may do what. */
const UNUSED = [
  "accessLogEncoding",
  "accessLogFile",
  "accessLogFormat",
  "connectTimeout",
  "defaultHttpRetryPolicy",
  "defaultProviders",
  "defaultTrafficPolicy",
  "disableEnvoyListenerLog",
  "dnsRefreshRate",
  "enableEnvoyAccessLogService",
  "enablePrometheusMerge",
  "enableTracing",
  "h2UpgradePolicy",
  "hboneIdleTimeout",
  "inboundClusterStatName",
  "inboundTrafficPolicy",
  "ingressClass",
  "ingressControllerMode",
  "ingressSelector",
  "ingressService",
  "localityLbSetting",
  "outboundClusterStatName",
  "protocolDetectionTimeout",
  "proxyHttpPort",
  "proxyInboundListenPort",
  "proxyListenPort",
  "serviceScopeConfigs",
  "serviceSettings",
  "tcpKeepalive",
  "zoneAwareLbSetting",
];

function refuseWhatIsNotHonoured(fields: Fields): void {
  fields.optional("verifyCertificateAtClient", only([true], "a server's certificate is always verified"));
  fields.refuse(REFUSED);
  fields.tellUnused(UNUSED);
}

function readOutboundTrafficPolicy(fields: Fields): Pick<MeshConfig, "outboundTrafficPolicy"> {
  const mode = fields.optional("outboundTrafficPolicy", outboundTrafficPolicy);
  return mode === undefined ? {} : { outboundTrafficPolicy: mode };
}

const EXPORTS = {
  services: "defaultServiceExportTo",
  destinationRules: "defaultDestinationRuleExportTo",
  virtualServices: "defaultVirtualServiceExportTo",
} as const;

function readDefaultExportTo(fields: Fields): Pick<MeshConfig, "defaultExportTo"> {
  const said = Object.entries(EXPORTS).flatMap(([kind, name]) => {
    const namespaces = fields.optional(name, exportTo) ?? [];
    return namespaces.length === 0 ? [] : [[kind, namespaces] as const];
  });
  return said.length === 0 ? {} : { defaultExportTo: Object.fromEntries(said) };
}

function readCaCertificates(fields: Fields): Pick<MeshConfig, "caCertificates"> {
  const sources = fields.optional("caCertificates", caCertificates) ?? [];
  return sources.length === 0 ? {} : { caCertificates: sources };
}

/** Every field that concerns security is read or refused by name; the others are told as warnings. */
export const meshConfig: Decoder<MeshConfig> = record((fields) => {
  const config: MeshConfig = {
    trustDomain: fields.optional("trustDomain", trustDomain),
    trustDomainAliases: fields.optional("trustDomainAliases", list(trustDomain, { max: LIMITS.meshValues })) ?? [],
    rootNamespace: fields.optional("rootNamespace", dnsLabel),
    pathNormalization: fields.optional("pathNormalization", pathNormalization) ?? DEFAULT_MESH_CONFIG.pathNormalization,
    meshMtls: fields.optional("meshMTLS", meshTls) ?? DEFAULT_MESH_TLS,
    enableAutoMtls: fields.optional("enableAutoMtls", autoMtls) ?? DEFAULT_MESH_CONFIG.enableAutoMtls,
    ...readOutboundTrafficPolicy(fields),
    ...readCaCertificates(fields),
    ...readDefaultExportTo(fields),
    defaultConfig: fields.optional("defaultConfig", meshProxyConfig) ?? NO_PROXY_CONFIG,
    extensionProviders: readExtensionProviders(fields),
  };
  refuseWhatIsNotHonoured(fields);
  return config;
});
