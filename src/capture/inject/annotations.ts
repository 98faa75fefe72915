/** Istio's annotations of a pod -> the arguments of `garrison capture`, and the resources of the proxy. */
import { parse } from "yaml";
import { AppError } from "../../core/error.ts";
import { parseChoice, parsePorts, parseRanges } from "../options.ts";
import { type Plain, plainOf, textOf } from "./plain.ts";

const TRAFFIC = "traffic.sidecar.istio.io/";

/** What each says, how it is read, and the option that it becomes. */
const CAPTURE: readonly (readonly [annotation: string, option: string, check: (name: string, text: string) => unknown])[] = [
  ["includeInboundPorts", "--include-inbound-ports", (name, text) => parseChoice(parsePorts, name, text)],
  ["excludeInboundPorts", "--exclude-inbound-ports", parsePorts],
  ["includeOutboundIPRanges", "--include-outbound-ranges", (name, text) => parseChoice(parseRanges, name, text)],
  ["excludeOutboundIPRanges", "--exclude-outbound-ranges", parseRanges],
  ["includeOutboundPorts", "--include-outbound-ports", parsePorts],
  ["excludeOutboundPorts", "--exclude-outbound-ports", parsePorts],
];

/** They name interfaces and modes that are not there: passing over them would capture less than was asked for, or more. */
const UNSUPPORTED: ReadonlySet<string> = new Set(["kubevirtInterfaces", "redirectInterfaces", "excludeInterfaces"]);

/** Arguments of `garrison capture`. Throws `invalid-configuration` for an annotation that cannot be honoured. */
export function captureArguments(annotations: Plain): readonly string[] {
  for (const key of Object.keys(annotations)) {
    const name = key.startsWith(TRAFFIC) ? key.slice(TRAFFIC.length) : "";
    if (UNSUPPORTED.has(name))
      throw new AppError("invalid-configuration", `annotation \`${key}\` is not supported`, {
        help: "all interfaces of a pod are captured",
      });
  }
  return CAPTURE.flatMap(([name, option, check]) => {
    const key = `${TRAFFIC}${name}`;
    const text = annotations[key];
    if (text === undefined) return [];
    if (typeof text !== "string")
      throw new AppError("invalid-configuration", `annotation \`${key}\` is not a text`, { help: "put it in quotes" });
    try {
      check(key, text);
    } catch (thrown) {
      const { message, help } = AppError.from(thrown);
      throw new AppError("invalid-configuration", message, help === undefined ? {} : { help });
    }
    return [`${option}=${text.replaceAll(" ", "")}`];
  });
}

/** Ports that the node reaches as it does without a mesh. Throws `invalid-argument`, as `captureArguments` says it better before. */
export function excludedInboundPorts(annotations: Plain): readonly number[] {
  const key = `${TRAFFIC}excludeInboundPorts`;
  return parsePorts(key, textOf(annotations, key));
}

const DEFAULTS = { proxyCPU: "100m", proxyMemory: "128Mi", proxyCPULimit: "2", proxyMemoryLimit: "1Gi" } as const;

/** Kubernetes' resource.Quantity, without exponents. */
const QUANTITY = /^\d{1,12}(\.\d{1,6})?(m|k|Ki|M|Mi|G|Gi)?$/;

function quantity(annotations: Plain, name: keyof typeof DEFAULTS): string {
  const key = `sidecar.istio.io/${name}`;
  const text = textOf(annotations, key) || DEFAULTS[name];
  if (QUANTITY.test(text)) return text;
  throw new AppError("invalid-configuration", `annotation \`${key}\` is not a quantity: \`${text.slice(0, 100)}\``, {
    help: "write it as `100m` or `128Mi`",
  });
}

/** What the proxy may use. Throws `invalid-configuration`. */
export function proxyResources(annotations: Plain): Plain {
  return {
    requests: { cpu: quantity(annotations, "proxyCPU"), memory: quantity(annotations, "proxyMemory") },
    limits: { cpu: quantity(annotations, "proxyCPULimit"), memory: quantity(annotations, "proxyMemoryLimit") },
  };
}

const MODE = "sidecar.istio.io/interceptionMode";

/** Throws `invalid-configuration` where a pod asks for another capture than there is. */
export function checkInterceptionMode(pod: Plain): void {
  const mode = textOf(plainOf(plainOf(pod, "metadata"), "annotations"), MODE);
  if (mode === "" || mode === "REDIRECT") return;
  throw new AppError("invalid-configuration", `annotation \`${MODE}: ${mode.slice(0, 50)}\` is not supported`, {
    help: "an injected pod is captured by REDIRECT: remove the annotation",
  });
}

const PROXY_CONFIG = "proxy.istio.io/config";
const DNS_CAPTURE = "ISTIO_META_DNS_CAPTURE";
const MAX_ALIASES = 10;
/** Characters: the control plane takes no longer one either. */
const MAX_CONFIG = 8_192;

function parsedConfig(text: string): unknown {
  if (text.length > MAX_CONFIG)
    throw new AppError("invalid-configuration", `annotation \`${PROXY_CONFIG}\` is longer than ${MAX_CONFIG} characters`, {
      help: "say only what differs from the mesh's `defaultConfig`",
    });
  try {
    return parse(text, { maxAliasCount: MAX_ALIASES });
  } catch (cause) {
    throw new AppError("invalid-configuration", `annotation \`${PROXY_CONFIG}\` is not YAML`, { cause });
  }
}

/** Whether the pod's agent is to answer its questions of DNS; undefined where it does not say. Throws `invalid-configuration`. */
export function capturesDns(annotations: Plain): boolean | undefined {
  const text = textOf(annotations, PROXY_CONFIG);
  const said = plainOf(text === "" ? {} : parsedConfig(text), "proxyMetadata")[DNS_CAPTURE];
  if (said === undefined) return undefined;
  if (said === "true" || said === "false") return said === "true";
  throw new AppError("invalid-configuration", `\`${DNS_CAPTURE}\` of annotation \`${PROXY_CONFIG}\` is neither "true" nor "false"`, {
    help: "write it in quotes",
  });
}
