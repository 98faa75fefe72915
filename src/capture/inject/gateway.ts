/** Pods that are gateways (Istio's template `gateway`): an agent and Envoy and no application, so that nothing is captured. */
import { AppError } from "../../core/error.ts";
import { type InjectOptions, type PodSettings, sidecarContainer } from "./containers.ts";
import { isPlain, listOf, type Plain, textOf } from "./plain.ts";

const TEMPLATES = "inject.istio.io/templates";

/** Istio's name of the container that people write for a gateway's proxy, with `image: auto`. */
export const GATEWAY_CONTAINER = "istio-proxy";
const ANY_IMAGE: ReadonlySet<string> = new Set(["", "auto"]);

/** Whether a pod is to be a gateway. Throws `invalid-configuration` for templates that are not there. */
export function isGateway(annotations: Plain): boolean {
  const template = textOf(annotations, TEMPLATES).trim();
  if (template === "" || template === "sidecar") return false;
  if (template === "gateway") return true;
  throw new AppError("invalid-configuration", `annotation \`${TEMPLATES}: ${template.slice(0, 100)}\` is not supported`, {
    help: "a pod is injected as `sidecar` or as `gateway`",
  });
}

function isProxy(container: unknown): boolean {
  return isPlain(container) && textOf(container, "name") === GATEWAY_CONTAINER;
}

/** What its people say of its ports, resources, environment and mounts holds; all else is the agent's. */
function proxyOf(own: Plain, options: InjectOptions, settings: PodSettings): Plain {
  const { restartPolicy: _, ...agent } = sidecarContainer(options, settings, {});
  const { command: __, ...said } = own;
  const both = (name: string): readonly unknown[] => [...listOf(said, name), ...listOf(agent, name)];
  return {
    ...said,
    ...agent,
    name: GATEWAY_CONTAINER,
    resources: isPlain(said.resources) ? said.resources : agent.resources,
    ports: both("ports"),
    env: both("env"),
    volumeMounts: both("volumeMounts"),
  };
}

export interface GatewayContainers {
  readonly containers: readonly unknown[];
  readonly notes: readonly string[];
}

/** The containers of a gateway: its proxy in the place that is kept for it, or before the others. */
export function gatewayContainers(spec: Plain, options: InjectOptions, settings: PodSettings): GatewayContainers {
  const own = listOf(spec, "containers");
  const place = own.find(isProxy) ?? {};
  const proxy = proxyOf(isPlain(place) ? place : {}, options, settings);
  const image = textOf(place, "image");
  const notes = ANY_IMAGE.has(image)
    ? []
    : [`the image \`${image.slice(0, 100)}\` of container \`${GATEWAY_CONTAINER}\` is replaced by ${options.image}`];
  const containers = own.some(isProxy) ? own.map((each) => (isProxy(each) ? proxy : each)) : [proxy, ...own];
  return { containers, notes };
}

/** Whether the proxy is in it already. */
export function hasGateway(spec: Plain): boolean {
  return listOf(spec, "containers").some((each) => isProxy(each) && listOf(each, "args")[0] === "agent");
}
