/** A pod -> the pod with its agent and proxy. Pure, for files and for the webhook alike; twice is the same as once. */
import { AppError } from "../../core/error.ts";
import { DEFAULT_CAPTURE } from "../options.ts";
import { captureArguments, capturesDns, checkInterceptionMode, proxyResources } from "./annotations.ts";
import {
  captureContainer,
  INIT_CONTAINER,
  type InjectOptions,
  type PodSettings,
  SIDECAR,
  sidecarContainer,
  volumes,
} from "./containers.ts";
import { listOf, type Plain, plainOf, textOf } from "./plain.ts";
import { rewriteProbes } from "./probes.ts";
import { withWorkloadApi, workloadApiContainers } from "./workload-api.ts";

export type Injection =
  | { readonly kind: "injected"; readonly pod: Plain }
  /** It stays as it is: why, in words for a person. */
  | { readonly kind: "skipped"; readonly reason: string };

const INJECT = "sidecar.istio.io/inject";
const REWRITE = "sidecar.istio.io/rewriteAppHTTPProbers";
const STATUS = "sidecar.istio.io/status";
const { proxyUid, proxyGid } = DEFAULT_CAPTURE;

function skipReason(pod: Plain): string | undefined {
  const metadata = plainOf(pod, "metadata");
  const spec = plainOf(pod, "spec");
  const said = textOf(plainOf(metadata, "labels"), INJECT) || textOf(plainOf(metadata, "annotations"), INJECT);
  if (spec.hostNetwork === true) return "it has its node's network, where a proxy of its own would capture the traffic of others";
  if (said === "false" || said === "n" || said === "no") return `it says \`${INJECT}: ${said}\``;
  if (listOf(spec, "initContainers").some((container) => textOf(container, "name") === SIDECAR)) return "it has been injected already";
  if (listOf(spec, "containers").length === 0) return "it has no containers";
  return undefined;
}

/** What runs as the proxy's user or group is not captured, and would go around the proxy. */
function checkUsers(spec: Plain): void {
  const contexts = [spec, ...listOf(spec, "containers"), ...listOf(spec, "initContainers")].map((each) => plainOf(each, "securityContext"));
  const refuse = (what: string, field: string): never => {
    const message = `the pod runs something as ${what}, which is the proxy's, whose traffic is not captured`;
    throw new AppError("invalid-configuration", message, { help: `choose another \`${field}\`` });
  };
  if (contexts.some(({ runAsUser }) => runAsUser === proxyUid)) refuse(`user ${proxyUid}`, "runAsUser");
  if (contexts.some(({ runAsGroup }) => runAsGroup === proxyGid)) refuse(`group ${proxyGid}`, "runAsGroup");
}

function injectedMeta(metadata: Plain, added: readonly Plain[]): Plain {
  const status = JSON.stringify({ initContainers: [INIT_CONTAINER, SIDECAR], volumes: added.map(({ name }) => name) });
  return {
    ...metadata,
    labels: { ...plainOf(metadata, "labels"), "security.istio.io/tlsMode": "istio" },
    annotations: { ...plainOf(metadata, "annotations"), "sidecar.istio.io/interceptionMode": "REDIRECT", [STATUS]: status },
  };
}

/**
 * The pod with both containers first, so that nothing of the pod's own starts before its traffic is captured. Throws
 * `invalid-configuration` for annotations that cannot be honoured: a pod that asks for protection gets it or does not run.
 */
export function injectPod(pod: Plain, options: InjectOptions): Injection {
  const reason = skipReason(pod);
  if (reason !== undefined) return { kind: "skipped", reason };
  const metadata = plainOf(pod, "metadata");
  const annotations = plainOf(metadata, "annotations");
  const spec = plainOf(pod, "spec");
  checkInterceptionMode(pod);
  checkUsers(spec);
  const rewrites = textOf(annotations, REWRITE) !== "false";
  const own = { containers: listOf(spec, "containers"), probes: {} };
  const { containers, probes } = rewrites ? rewriteProbes(own.containers) : own;
  const first = rewrites ? rewriteProbes(listOf(spec, "initContainers")) : { containers: listOf(spec, "initContainers"), probes: {} };
  const apiContainers = workloadApiContainers(annotations, spec);
  const settings: PodSettings = {
    capture: captureArguments(annotations),
    dnsCapture: capturesDns(annotations) ?? options.dnsCapture ?? false,
    workloadApi: apiContainers.size > 0,
    resources: proxyResources(annotations),
  };
  const sidecar = sidecarContainer(options, settings, { ...probes, ...first.probes });
  const added = volumes(settings);
  const injectedSpec = {
    ...spec,
    initContainers: [captureContainer(options, settings), sidecar, ...withWorkloadApi(first.containers, apiContainers)],
    containers: withWorkloadApi(containers, apiContainers),
    volumes: [...listOf(spec, "volumes"), ...added],
  };
  return { kind: "injected", pod: { ...pod, metadata: injectedMeta(metadata, added), spec: injectedSpec } };
}

// === Objects that make pods ===

/** Where each kind has the template of its pods. */
const TEMPLATES: Readonly<Record<string, readonly string[]>> = {
  Deployment: ["spec", "template"],
  ReplicaSet: ["spec", "template"],
  ReplicationController: ["spec", "template"],
  StatefulSet: ["spec", "template"],
  DaemonSet: ["spec", "template"],
  Job: ["spec", "template"],
  CronJob: ["spec", "jobTemplate", "spec", "template"],
};

function replaceAt(record: Plain, [key, ...rest]: readonly string[], change: (value: Plain) => Plain): Plain {
  if (key === undefined) return change(record);
  return { ...record, [key]: replaceAt(plainOf(record, key), rest, change) };
}

export interface InjectedObject {
  readonly object: Plain;
  /** Undefined for an object that makes no pods. */
  readonly outcome?: "injected" | { readonly skipped: string };
}

/** An object of any kind, its pods injected. Throws as `injectPod`. */
export function injectObject(object: Plain, options: InjectOptions): InjectedObject {
  const kind = textOf(object, "kind");
  const path = kind === "Pod" ? [] : TEMPLATES[kind];
  if (path === undefined) return { object };
  let outcome: InjectedObject["outcome"] = "injected";
  const changed = replaceAt(object, path, (pod) => {
    const injection = injectPod(pod, options);
    if (injection.kind === "injected") return injection.pod;
    outcome = { skipped: injection.reason };
    return pod;
  });
  return { object: changed, outcome };
}
