/** A pod -> the pod with its agent and proxy. Pure, for files and for the webhook alike; twice is the same as once. */
import { AppError } from "../../core/error.ts";
import { DEFAULT_CAPTURE } from "../options.ts";
import { captureArguments, capturesDns, checkInterceptionMode, excludedInboundPorts, proxyResources } from "./annotations.ts";
import {
  captureContainer,
  INIT_CONTAINER,
  type InjectOptions,
  type PodSettings,
  SIDECAR,
  sidecarContainer,
  volumes,
} from "./containers.ts";
import { GATEWAY_CONTAINER, gatewayContainers, hasGateway, isGateway } from "./gateway.ts";
import { plaintextHooks } from "./hooks.ts";
import { listOf, type Plain, plainOf, textOf } from "./plain.ts";
import { rewriteProbes } from "./probes.ts";
import { withWorkloadApi, workloadApiContainers } from "./workload-api.ts";

export type Injection =
  /** `notes`: what its people should know, each a sentence. */
  | { readonly kind: "injected"; readonly pod: Plain; readonly notes: readonly string[] }
  /** It stays as it is: why, in words for a person. */
  | { readonly kind: "skipped"; readonly reason: string };

const INJECT = "sidecar.istio.io/inject";
const REWRITE = "sidecar.istio.io/rewriteAppHTTPProbers";
const STATUS = "sidecar.istio.io/status";
const MODE = "sidecar.istio.io/interceptionMode";
const { proxyUid } = DEFAULT_CAPTURE;

function skipReason(pod: Plain): string | undefined {
  const metadata = plainOf(pod, "metadata");
  const spec = plainOf(pod, "spec");
  const said = textOf(plainOf(metadata, "labels"), INJECT) || textOf(plainOf(metadata, "annotations"), INJECT);
  if (spec.hostNetwork === true) return "it has its node's network, where a proxy of its own would capture the traffic of others";
  if (said === "false" || said === "n" || said === "no") return `it says \`${INJECT}: ${said}\``;
  if (isInjected(metadata, spec)) return "it has been injected already";
  if (listOf(spec, "containers").length === 0) return "it has no containers";
  return undefined;
}

function namesOf(list: readonly unknown[]): readonly string[] {
  return list.map((each) => textOf(each, "name"));
}

function isInjected(metadata: Plain, spec: Plain): boolean {
  const names = namesOf(listOf(spec, "initContainers"));
  const isThere = (names.includes(INIT_CONTAINER) && names.includes(SIDECAR)) || hasGateway(spec);
  return textOf(plainOf(metadata, "annotations"), STATUS) !== "" && isThere;
}

function refuse(message: string, help: string): AppError {
  return new AppError("invalid-configuration", message, { help });
}

/** What runs as the proxy's user is not captured, and would go around the proxy. Groups mean nothing to the capture. */
function checkUsers(spec: Plain): void {
  const contexts = [spec, ...listOf(spec, "containers"), ...listOf(spec, "initContainers")].map((each) => plainOf(each, "securityContext"));
  if (!contexts.some(({ runAsUser }) => runAsUser === proxyUid)) return;
  throw refuse(
    `the pod runs something as user ${proxyUid}, which is the proxy's, whose traffic is not captured`,
    "choose another `runAsUser`",
  );
}

/** What is added has names of its own. */
function checkNames(spec: Plain, added: readonly Plain[]): void {
  const containers = namesOf([...listOf(spec, "containers"), ...listOf(spec, "initContainers")]);
  const container = [INIT_CONTAINER, SIDECAR].find((name) => containers.includes(name));
  if (container !== undefined) throw refuse(`the pod has a container \`${container}\` of its own`, "give it another name");
  const volume = namesOf(added).find((name) => namesOf(listOf(spec, "volumes")).includes(name));
  if (volume !== undefined) throw refuse(`the pod has a volume \`${volume}\` of its own`, "give it another name");
}

/** The pod's own, and those that the added image needs. */
function withPullSecrets(spec: Plain, pullSecrets: readonly string[]): Plain {
  const own = listOf(spec, "imagePullSecrets");
  const missing = pullSecrets.filter((name) => !namesOf(own).includes(name));
  return missing.length === 0 ? {} : { imagePullSecrets: [...own, ...missing.map((name) => ({ name }))] };
}

/** Without the label by which others speak mutual TLS to a pod: a gateway's servers say what they take. */
function gatewayMeta(metadata: Plain, added: readonly Plain[]): Plain {
  const status = JSON.stringify({ containers: [GATEWAY_CONTAINER], volumes: added.map(({ name }) => name) });
  return { ...metadata, annotations: { ...plainOf(metadata, "annotations"), [MODE]: "NONE", [STATUS]: status } };
}

function injectGateway(pod: Plain, options: InjectOptions): Injection {
  const [metadata, spec] = [plainOf(pod, "metadata"), plainOf(pod, "spec")];
  const annotations = plainOf(metadata, "annotations");
  const settings: PodSettings = { capture: [], dnsCapture: false, workloadApi: false, resources: proxyResources(annotations) };
  const added = volumes(settings);
  checkNames(spec, added);
  const mode = textOf(annotations, MODE);
  if (mode !== "" && mode !== "NONE")
    throw refuse(`annotation \`${MODE}: ${mode.slice(0, 50)}\` is on a gateway, of which nothing is captured`, "remove it");
  const { containers, notes } = gatewayContainers(spec, options, settings);
  const own = { ...spec, ...withPullSecrets(spec, options.pullSecrets ?? []), containers, volumes: [...listOf(spec, "volumes"), ...added] };
  return { kind: "injected", pod: { ...pod, metadata: gatewayMeta(metadata, added), spec: own }, notes };
}

function injectedMeta(metadata: Plain, added: readonly Plain[]): Plain {
  const status = JSON.stringify({ initContainers: [INIT_CONTAINER, SIDECAR], volumes: added.map(({ name }) => name) });
  return {
    ...metadata,
    labels: { ...plainOf(metadata, "labels"), "security.istio.io/tlsMode": "istio" },
    annotations: { ...plainOf(metadata, "annotations"), [MODE]: "REDIRECT", [STATUS]: status },
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
  if (isGateway(annotations)) return injectGateway(pod, options);
  checkInterceptionMode(pod);
  checkUsers(spec);
  const rewrites = textOf(annotations, REWRITE) !== "false";
  const probed = (containers: readonly unknown[]) => (rewrites ? rewriteProbes(containers) : { containers, probes: {}, notes: [] });
  const own = probed(listOf(spec, "containers"));
  const first = probed(listOf(spec, "initContainers"));
  const apiContainers = workloadApiContainers(annotations, spec);
  const settings: PodSettings = {
    capture: captureArguments(annotations),
    dnsCapture: capturesDns(annotations) ?? options.dnsCapture ?? false,
    workloadApi: apiContainers.size > 0,
    resources: proxyResources(annotations),
  };
  const sidecar = sidecarContainer(options, settings, { ...own.probes, ...first.probes });
  const added = volumes(settings);
  checkNames(spec, added);
  const injectedSpec = {
    ...spec,
    ...withPullSecrets(spec, options.pullSecrets ?? []),
    initContainers: [captureContainer(options, settings), sidecar, ...withWorkloadApi(first.containers, apiContainers)],
    containers: withWorkloadApi(own.containers, apiContainers),
    volumes: [...listOf(spec, "volumes"), ...added],
  };
  const notes = [...own.notes, ...first.notes, ...plaintextHooks(listOf(spec, "containers"), excludedInboundPorts(annotations))];
  return { kind: "injected", pod: { ...pod, metadata: injectedMeta(metadata, added), spec: injectedSpec }, notes };
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
  PodTemplate: ["template"],
  Pod: [],
};

/** Whether objects of the kind are pods, or make them as Kubernetes itself knows it. */
export function makesPods(kind: string): boolean {
  return Object.hasOwn(TEMPLATES, kind);
}

function replaceAt(record: Plain, [key, ...rest]: readonly string[], change: (value: Plain) => Plain): Plain {
  if (key === undefined) return change(record);
  return { ...record, [key]: replaceAt(plainOf(record, key), rest, change) };
}

export interface InjectedObject {
  readonly object: Plain;
  /** What its people should know, each a sentence. */
  readonly notes: readonly string[];
}

/** Controllers that others wrote often have their pods where Deployments have them. */
function unknownNotes(object: Plain): readonly string[] {
  const spec = plainOf(plainOf(plainOf(object, "spec"), "template"), "spec");
  return listOf(spec, "containers").length === 0
    ? []
    : ["not injected: its kind is not known here; the webhook injects the pods that it makes"];
}

/** An object of any kind, its pods injected; itself where nothing is. `kind`: of an item of a list. Throws as `injectPod`. */
export function injectObject(object: Plain, options: InjectOptions, kind = textOf(object, "kind")): InjectedObject {
  const path = makesPods(kind) ? TEMPLATES[kind] : undefined;
  if (path === undefined) return { object, notes: unknownNotes(object) };
  let notes: readonly string[] = [];
  let injected = false;
  const changed = replaceAt(object, path, (pod) => {
    const injection = injectPod(pod, options);
    notes = injection.kind === "injected" ? injection.notes : [`not injected: ${injection.reason}`];
    injected = injection.kind === "injected";
    return injection.kind === "injected" ? injection.pod : pod;
  });
  return { object: injected ? changed : object, notes };
}
