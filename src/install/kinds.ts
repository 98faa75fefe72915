/** The kinds that an installation has, and where an API server has them. */
import { AppError } from "../core/error.ts";
import type { ChartName, Manifest } from "./chart.ts";

export interface InstalledKind {
  readonly kind: string;
  readonly apiVersion: string;
  /** The plural of its URLs. */
  readonly resource: string;
  readonly namespaced: boolean;
}

const kind = (apiVersion: string, name: string, resource: string, namespaced = true): InstalledKind => ({
  kind: name,
  apiVersion,
  resource,
  namespaced,
});

export const CRD = kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", false);
export const NAMESPACE = kind("v1", "Namespace", "namespaces", false);
const SERVICE_ACCOUNT = kind("v1", "ServiceAccount", "serviceaccounts");
const CLUSTER_ROLE = kind("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", false);
const CLUSTER_ROLE_BINDING = kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", false);
export const SECRET = kind("v1", "Secret", "secrets");
export const DEPLOYMENT = kind("apps/v1", "Deployment", "deployments");
/** Where the control planes' records outlive their pods. */
export const STATEFUL_SET = kind("apps/v1", "StatefulSet", "statefulsets");
export const WEBHOOK_KINDS = [
  kind("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false),
  kind("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", false),
] as const;

/**
 * In the order in which they are made. The webhooks ask the control plane about others, so they are last; and what they ask about, the mesh's
 * configuration, comes after the Deployment, so that a control plane that does not run can be put right.
 */
export const INSTALLED_KINDS: readonly InstalledKind[] = [
  NAMESPACE,
  SERVICE_ACCOUNT,
  // What bounds a right is there before the right.
  kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", false),
  kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", false),
  CLUSTER_ROLE,
  CLUSTER_ROLE_BINDING,
  kind("rbac.authorization.k8s.io/v1", "Role", "roles"),
  kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
  kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
  kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
  kind("v1", "Service", "services"),
  DEPLOYMENT,
  STATEFUL_SET,
  kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
  kind("v1", "ConfigMap", "configmaps"),
  ...WEBHOOK_KINDS,
];

/** Of each chart, in that order. */
export const KINDS_OF: Readonly<Record<ChartName, readonly InstalledKind[]>> = {
  garrison: INSTALLED_KINDS,
  "garrison-remote": [SERVICE_ACCOUNT, CLUSTER_ROLE, CLUSTER_ROLE_BINDING, SECRET, ...WEBHOOK_KINDS],
};

/** Every object of an installation has it, with its chart's name. */
export const CHART_LABEL = "garrison.dev/chart";
/** Helm's: it stays when the rest is uninstalled. */
const KEEP_ANNOTATION = "helm.sh/resource-policy";

function base({ apiVersion }: InstalledKind): string {
  return apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
}

/** The URL of all objects of a kind. */
export function collectionUrl(of: InstalledKind): string {
  return `${base(of)}/${of.resource}`;
}

/** The URL of one object. */
export function objectUrl(of: InstalledKind, { name, namespace }: Manifest["metadata"]): string {
  const within = of.namespaced ? `${base(of)}/namespaces/${namespace}` : base(of);
  return `${within}/${of.resource}/${name}`;
}

/** Throws `unsupported` for a kind that no installation has. */
export function kindOf(manifest: Manifest): InstalledKind {
  const found = [...INSTALLED_KINDS, SECRET, CRD].find((each) => each.kind === manifest.kind && each.apiVersion === manifest.apiVersion);
  if (found !== undefined) return found;
  throw new AppError("unsupported", `the chart has an object of \`${manifest.apiVersion}\` \`${manifest.kind}\`, which is not known here`);
}

/** `Deployment garrison-system/garrison`. */
export function nameOf({ kind: name, metadata }: Pick<Manifest, "kind" | "metadata">): string {
  return `${name} ${metadata.namespace === undefined ? "" : `${metadata.namespace}/`}${metadata.name}`;
}

export function isOurs({ metadata }: Pick<Manifest, "metadata">): boolean {
  return metadata.labels?.[CHART_LABEL] === "garrison";
}

export function isKept({ metadata }: Pick<Manifest, "metadata">): boolean {
  return metadata.annotations?.[KEEP_ANNOTATION] === "keep";
}

/** The Helm release that an object is of; undefined where Helm did not make it. */
export function helmRelease({ metadata }: Pick<Manifest, "metadata">): string | undefined {
  return metadata.annotations?.["meta.helm.sh/release-name"];
}
