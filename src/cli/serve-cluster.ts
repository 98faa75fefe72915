/** The options of `garrison serve` for a control plane in a Kubernetes cluster. */
import { isIP } from "node:net";
import { AppError } from "../core/error.ts";
import { DEFAULT_TRUST_DOMAIN } from "../identity/trust-domain.ts";
import { isDnsLabel, isDnsSubdomain } from "../policy/decode/kubernetes-name.ts";
import type { OtherClustersPlace } from "../server/cluster/other-clusters.ts";
import { type ClusterPlace, DEFAULT_CLUSTER_NAME } from "../server/cluster/place.ts";
import type { ConfigurationOrigin } from "../server/source.ts";
import { citadelNamespaces } from "./citadel-namespaces.ts";
import type { OptionSpecs, ParsedArguments } from "./command.ts";
import { givenCa } from "./given-ca.ts";
import { INJECT_OPTIONS, injectOptions } from "./inject.ts";
import { clusterName, parseCount, parseHostPort, required } from "./options.ts";

export const CLUSTER_PLACE_OPTIONS = {
  webhooks: {
    type: "value",
    value: "HOST:PORT",
    doc: "where the API server has objects checked before it keeps them, by HTTPS (`garrison install` says so to it)",
  },
  service: {
    type: "value",
    value: "NAMESPACE/NAME",
    doc: "the Service in front of the control plane on Kubernetes: its certificate carries that name",
    default: "garrison-system/garrison",
  },
  ...INJECT_OPTIONS,
  "ca-secret": {
    type: "value",
    value: "NAMESPACE/NAME",
    doc: "the Secret with the CA that all replicas share, as `cacerts`; it is made where there is none",
  },
  records: {
    type: "value",
    value: "FOLDER",
    doc: "with --ca-secret: keep the ledger and the log of certificates and the record of decisions there, on a disk that outlives the pod, and no key but the log's; without, they are in the state folder",
  },
  "replica-address": {
    type: "value",
    value: "IP",
    doc: "where the other replicas reach this one, at the port of `--listen`: whichever is asked for certificates, decisions or modes of mutual TLS asks all of them. Without, the address of `--listen` where it is one",
  },
  citadel: {
    type: "many",
    value: "NAMESPACE",
    doc: "Citadel mode for this namespace, `*` for all: each service account gets a Secret `istio.NAME` with a key and certificates. Whoever may read Secrets there can then be any of its accounts (deploy/helm/garrison/templates/citadel.yaml)",
  },
  cluster: { type: "value", value: "NAME", doc: "this cluster's name among several", default: DEFAULT_CLUSTER_NAME },
  "remote-clusters": {
    type: "value",
    value: "NAMESPACE",
    doc: "take in other clusters: those whose kubeconfigs are in Secrets of this namespace with the label istio/multiCluster=true",
  },
  "remote-cluster-timeout": {
    type: "value",
    value: "SECONDS",
    doc: "how long a start waits for other clusters that do not answer; then it serves without them",
    default: "30",
  },
  "remote-control-plane": {
    type: "value",
    value: "HOST:PORT",
    doc: "where pods of other clusters find this control plane, which their API servers can then have inject them; its certificate carries the name",
  },
} as const satisfies OptionSpecs;

/** Throws `invalid-argument`. */
function objectName(option: string, text: string): ClusterPlace["service"] {
  const [namespace = "", name = "", ...more] = text.split("/");
  if (isDnsLabel(namespace) && isDnsLabel(name) && more.length === 0) return { namespace, name };
  const help = "names are of lower-case letters, digits and `-`";
  throw new AppError("invalid-argument", `\`--${option}\` is not of the form \`NAMESPACE/NAME\``, { help });
}

/** What makes sense on Kubernetes alone. */
const OF_CLUSTERS = [
  "webhooks",
  "ca-secret",
  "records",
  "citadel",
  "remote-clusters",
  "remote-control-plane",
  "replica-address",
  "inject-image",
  "inject-pull-secret",
] as const;

/** Throws `invalid-argument`. */
export function clusterPlace(parsed: ParsedArguments, config: ConfigurationOrigin): ClusterPlace {
  const [webhooks, caSecret] = [parsed.value("webhooks"), parsed.value("ca-secret")];
  const isGiven = (option: string): boolean => parsed.value(option) !== undefined || parsed.values(option).length > 0;
  const stray = config.kind === "kubernetes" ? undefined : OF_CLUSTERS.find(isGiven);
  if (stray !== undefined) {
    throw new AppError("invalid-argument", `\`--${stray}\` is for a control plane on Kubernetes`, {
      help: "add `--kubernetes`, or leave it out",
    });
  }
  const other = givenCa(parsed);
  if (caSecret !== undefined && other !== undefined) {
    throw new AppError("invalid-argument", `\`--ca-secret\` and \`--${other}\` both name a CA`, { help: "name one of them" });
  }
  return {
    service: objectName("service", required(parsed, "service")),
    webhooks: webhooks === undefined ? undefined : parseHostPort(webhooks),
    caSecret: caSecret === undefined ? undefined : objectName("ca-secret", caSecret),
    citadel: citadelNamespaces(parsed.values("citadel")),
    name: clusterName(required(parsed, "cluster")),
    ...recordsOf(parsed),
    ...replicaAddressOf(parsed),
    ...otherClusters(parsed),
    ...injectionOf(parsed),
  };
}

/** Throws `invalid-argument`. */
function recordsOf(parsed: ParsedArguments): Pick<ClusterPlace, "records"> {
  const records = parsed.value("records");
  if (records === undefined) return {};
  if (parsed.value("ca-secret") !== undefined) return { records };
  throw new AppError("invalid-argument", "`--records` is for a control plane whose CA is a Secret", {
    help: "name that by --ca-secret NAMESPACE/NAME; without, the state folder has the CA's keys and its records, and both must be kept",
  });
}

/** Throws `invalid-argument`. */
function replicaAddressOf(parsed: ParsedArguments): Pick<ClusterPlace, "replicaAddress"> {
  const replicaAddress = parsed.value("replica-address");
  if (replicaAddress === undefined) return {};
  if (isIP(replicaAddress) === 0)
    throw new AppError("invalid-argument", `\`${replicaAddress}\` of \`--replica-address\` is no IP address`, {
      help: "it is the pod's own, without a port",
    });
  return { replicaAddress };
}

/** Throws `invalid-argument`. */
function otherClusters(parsed: ParsedArguments): Pick<ClusterPlace, "others"> {
  const [namespace, address] = [parsed.value("remote-clusters"), parsed.value("remote-control-plane")];
  if (namespace === undefined && address !== undefined)
    throw new AppError("invalid-argument", "`--remote-control-plane` is for other clusters", {
      help: "say where they are named, by --remote-clusters NAMESPACE",
    });
  if (namespace === undefined) return {};
  if (!isDnsLabel(namespace))
    throw new AppError("invalid-argument", `\`${namespace}\` of \`--remote-clusters\` is not the name of a namespace`, {
      help: "it is the namespace of the Secrets that name the clusters, such as istio-system",
    });
  const timeoutMs = parseCount("remote-cluster-timeout", required(parsed, "remote-cluster-timeout"), 0, 3_600) * 1_000;
  return { others: { namespace, timeoutMs, ...(address === undefined ? {} : { controlPlane: namedAddress(address) }) } };
}

/** Certificates carry names, and no addresses. Throws `invalid-argument`. */
function namedAddress(text: string): NonNullable<OtherClustersPlace["controlPlane"]> {
  const address = parseHostPort(text);
  if (isDnsSubdomain(address.host) && !isIP(address.host)) return address;
  throw new AppError("invalid-argument", `\`${address.host.slice(0, 253)}\` of \`--remote-control-plane\` is not a DNS name`, {
    help: "give the control plane a name: API servers of other clusters know it by that, not by its address",
  });
}

/** Throws `invalid-argument`. */
function injectionOf(parsed: ParsedArguments): Pick<ClusterPlace, "injection"> {
  if (parsed.value("inject-image") === undefined) {
    if (parsed.values("inject-pull-secret").length === 0) return {};
    throw new AppError("invalid-argument", "`--inject-pull-secret` is for the image that pods are injected with", {
      help: "name that by --inject-image IMAGE, or leave it out",
    });
  }
  if (parsed.value("webhooks") === undefined)
    throw new AppError("invalid-argument", "`--inject-image` is for the webhook that injects", {
      help: "say where it is served, by --webhooks HOST:PORT",
    });
  return { injection: injectOptions(parsed, parsed.value("trust-domain") ?? DEFAULT_TRUST_DOMAIN) };
}
