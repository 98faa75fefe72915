/** What a pod gets: an init container that captures its traffic, and a native sidecar with the agent and Envoy. */
import { CAPTURE_DNS_PORT } from "../../render/envoy/names.ts";
import { DEFAULT_CAPTURE, PROBE_PORT } from "../options.ts";
import type { Plain } from "./plain.ts";
import { WORKLOAD_API } from "./workload-api.ts";

export interface InjectOptions {
  /** With `garrison`, Envoy and nft. */
  readonly image: string;
  /** `HOST:PORT` of the control plane. */
  readonly controlPlane: string;
  readonly trustDomain: string;
  /** The cluster whose pods they are, where the control plane serves several. */
  readonly cluster?: string;
  /** Secrets of the pods' namespaces that the image is pulled with. */
  readonly pullSecrets?: readonly string[];
  /** Whether agents answer DNS where pods do not say it: `ISTIO_META_DNS_CAPTURE` of the MeshConfig. */
  readonly dnsCapture?: boolean;
}

/** What a pod's annotations come to. */
export interface PodSettings {
  /** Arguments of `garrison capture`. */
  readonly capture: readonly string[];
  /** Its agent answers DNS. */
  readonly dnsCapture: boolean;
  /** Containers of its own have the Workload API. */
  readonly workloadApi: boolean;
  readonly resources: Plain;
}

export const INIT_CONTAINER = "garrison-capture";
export const SIDECAR = "garrison-proxy";

const TOKEN_VOLUME = "garrison-token";
const ROOTS_VOLUME = "garrison-roots";
const STATE_VOLUME = "garrison-state";

/** The audience that the control plane has tokens reviewed for, and the life of one (Istio's). */
const AUDIENCE = "istio-ca";
const TOKEN_SECONDS = 43_200;

/** Where Istio's agents have them. */
const TOKEN_FOLDER = "/var/run/secrets/tokens";
const ROOTS_FOLDER = "/var/run/secrets/istio";
const STATE_FOLDER = "/var/run/garrison";

const VOLUMES: readonly Plain[] = [
  {
    name: TOKEN_VOLUME,
    projected: { sources: [{ serviceAccountToken: { audience: AUDIENCE, expirationSeconds: TOKEN_SECONDS, path: "istio-token" } }] },
  },
  { name: ROOTS_VOLUME, configMap: { name: "istio-ca-root-cert" } },
  // Keys are in memory alone.
  { name: STATE_VOLUME, emptyDir: { medium: "Memory" } },
];

export function volumes({ workloadApi }: PodSettings): readonly Plain[] {
  return [...VOLUMES, ...(workloadApi ? [WORKLOAD_API.volume] : [])];
}

const LOCKED = { allowPrivilegeEscalation: false, privileged: false, readOnlyRootFilesystem: true };

/** Root of its own container, with the one capability that the rules of the pod's network need. */
export function captureContainer({ image }: InjectOptions, { capture, dnsCapture }: PodSettings): Plain {
  return {
    name: INIT_CONTAINER,
    image,
    args: ["capture", ...capture, ...dnsArguments(dnsCapture)],
    resources: { requests: { cpu: "10m", memory: "64Mi" }, limits: { cpu: "2", memory: "256Mi" } },
    securityContext: {
      ...LOCKED,
      runAsUser: 0,
      runAsGroup: 0,
      runAsNonRoot: false,
      capabilities: { add: ["NET_ADMIN"], drop: ["ALL"] },
    },
  };
}

/** Of both: whatever the mesh says later, what is redirected has to be answered. */
function dnsArguments(dnsCapture: boolean): readonly string[] {
  return dnsCapture ? [`--dns-port=${CAPTURE_DNS_PORT}`] : [];
}

function agentArguments(
  { controlPlane, trustDomain, cluster }: InjectOptions,
  { dnsCapture, workloadApi }: PodSettings,
  probes: Readonly<Record<string, Plain>>,
): readonly string[] {
  return [
    "agent",
    `--control-plane=${controlPlane}`,
    `--trust-domain=${trustDomain}`,
    ...(cluster === undefined ? [] : [`--cluster=${cluster}`]),
    `--root-ca=${ROOTS_FOLDER}/root-cert.pem`,
    `--token-file=${TOKEN_FOLDER}/istio-token`,
    "--workload=$(POD_NAMESPACE)/$(POD_NAME)",
    "--proxy=envoy",
    `--state=${STATE_FOLDER}/state`,
    `--health-listen=[::]:${PROBE_PORT}`,
    ...dnsArguments(dnsCapture),
    ...(workloadApi ? WORKLOAD_API.arguments : []),
    ...(Object.keys(probes).length === 0 ? [] : [`--app-probes=${escaped(JSON.stringify(probes))}`]),
  ];
}

/** Kubernetes expands `$(NAME)` in arguments; two dollars stand for one. */
function escaped(text: string): string {
  return text.replaceAll("$", "$$$$");
}

function fieldOfPod(name: string, fieldPath: string): Plain {
  return { name, valueFrom: { fieldRef: { fieldPath } } };
}

/** It starts before the application and ends after it: an init container that stays (Kubernetes 1.29 and newer). */
export function sidecarContainer(options: InjectOptions, settings: PodSettings, probes: Readonly<Record<string, Plain>>): Plain {
  const { proxyUid } = DEFAULT_CAPTURE;
  const ready = { httpGet: { path: "/healthz/ready", port: PROBE_PORT } };
  return {
    name: SIDECAR,
    image: options.image,
    restartPolicy: "Always",
    args: agentArguments(options, settings, probes),
    env: [fieldOfPod("POD_NAME", "metadata.name"), fieldOfPod("POD_NAMESPACE", "metadata.namespace")],
    ports: [{ name: "garrison-health", containerPort: PROBE_PORT, protocol: "TCP" }],
    // The application starts when the proxy is ready, and no sooner.
    startupProbe: { ...ready, periodSeconds: 1, failureThreshold: 600, timeoutSeconds: 3 },
    readinessProbe: { ...ready, periodSeconds: 15, failureThreshold: 4, timeoutSeconds: 3 },
    resources: settings.resources,
    securityContext: { ...LOCKED, runAsUser: proxyUid, runAsGroup: proxyUid, runAsNonRoot: true, capabilities: { drop: ["ALL"] } },
    volumeMounts: [
      { name: TOKEN_VOLUME, mountPath: TOKEN_FOLDER, readOnly: true },
      { name: ROOTS_VOLUME, mountPath: ROOTS_FOLDER, readOnly: true },
      { name: STATE_VOLUME, mountPath: STATE_FOLDER },
      ...(settings.workloadApi ? [WORKLOAD_API.mount] : []),
    ],
  };
}
