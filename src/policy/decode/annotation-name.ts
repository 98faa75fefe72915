/** Keys of annotations: those of Istio's and Garrison's domains that nobody reads are told, as one is hardly written for nothing. */
import { type Decoder, text } from "./reader.ts";
import { quote } from "./report.ts";
import { closest } from "./suggest.ts";

/** By domain. Istio has more than Garrison reads: those are no mistake of whoever writes them. */
const NAMES: Readonly<Record<string, readonly string[]>> = {
  "istio.io": [
    "dry-run",
    "rev",
    "autoRegistrationGroup",
    "workloadController",
    "connectedAt",
    "disconnectedAt",
    "reroute-virtual-interfaces",
  ],
  "inject.istio.io": ["templates"],
  "proxy.istio.io": ["config", "overrides", "health-checks-enabled"],
  "sidecar.istio.io": [
    ...["inject", "status", "interceptionMode", "rewriteAppHTTPProbers", "controlPlaneAuthPolicy", "discoveryAddress", "bootstrapOverride"],
    ...["proxyImage", "proxyImageType", "proxyCPU", "proxyCPULimit", "proxyMemory", "proxyMemoryLimit", "nativeSidecar", "enableCoreDump"],
    ...["statsInclusionPrefixes", "statsInclusionSuffixes", "statsInclusionRegexps", "statsHistogramBuckets", "statsCompression"],
    ...["extraStatTags", "userVolume", "userVolumeMount", "logLevel", "componentLogLevel", "agentLogLevel"],
  ],
  "traffic.sidecar.istio.io": [
    ...["includeInboundPorts", "excludeInboundPorts", "includeOutboundPorts", "excludeOutboundPorts"],
    ...["includeOutboundIPRanges", "excludeOutboundIPRanges", "excludeInterfaces", "kubevirtInterfaces", "redirectInterfaces"],
  ],
  "garrison.dev": ["proxies", "addresses", "workload-api"],
};

const KEYS = Object.entries(NAMES).flatMap(([domain, names]) => names.map((name) => `${domain}/${name}`));
const KNOWN: ReadonlySet<string> = new Set(KEYS);

/** The key that was meant: the same name in another domain, or one that is near. */
function meantBy(key: string, domain: string): string | undefined {
  const name = key.slice(domain.length + 1).toLowerCase();
  return KEYS.find((known) => known.slice(known.indexOf("/") + 1).toLowerCase() === name) ?? closest(key, KEYS);
}

/** Others' annotations may be called as they like; Istio's other domains as well, unless they look like one of these. */
const OURS = /istio|garrison/i;

/** A key of `metadata.annotations`. */
export const annotationName: Decoder<string> = (cursor) => {
  const key = text(cursor);
  if (key === undefined || KNOWN.has(key)) return key;
  const domain = key.slice(0, Math.max(0, key.indexOf("/")));
  const meant = OURS.test(domain) ? meantBy(key, domain) : undefined;
  if (meant === undefined && !Object.hasOwn(NAMES, domain)) return key;
  const help = meant === undefined ? "remove it: nothing here reads it" : `did you mean ${quote(meant)}?`;
  cursor.report.add("GAR0218", cursor.node.place, `the annotation ${quote(key)} is not known, and has no effect`, help);
  return key;
};
