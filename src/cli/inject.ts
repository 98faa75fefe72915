import { readFileSync } from "node:fs";
import type { InjectOptions } from "../capture/inject/containers.ts";
import { injectManifests } from "../capture/inject/manifests.ts";
import { AppError } from "../core/error.ts";
import { parseTrustDomain } from "../identity/trust-domain.ts";
import { DEFAULT_CLUSTER_NAME } from "../server/cluster/place.ts";
import type { Command, OptionSpecs, ParsedArguments } from "./command.ts";
import { EXIT } from "./exit.ts";
import { clusterName, parseHostPort, required } from "./options.ts";

const MAX_BYTES = 16 * 1024 * 1024;
const IMAGE = /^[a-z0-9][A-Za-z0-9./_:@-]{0,510}$/;

/** What both `garrison inject` and the webhook must know. */
export const INJECT_OPTIONS = {
  "inject-image": { type: "value", value: "IMAGE", doc: "the image with garrison, Envoy and nft that pods get" },
  "inject-control-plane": {
    type: "value",
    value: "HOST:PORT",
    doc: "where pods find the control plane",
    default: "garrison.garrison-system.svc:15012",
  },
} as const satisfies OptionSpecs;

/** Throws `invalid-argument`. */
export function injectOptions(parsed: ParsedArguments, trustDomain: string): InjectOptions {
  const image = required(parsed, "inject-image");
  if (!IMAGE.test(image)) throw new AppError("invalid-argument", `\`${image.slice(0, 200)}\` is not the name of an image`);
  const controlPlane = required(parsed, "inject-control-plane");
  parseHostPort(controlPlane);
  const cluster = parsed.value("cluster");
  // What is not named is the control plane's own, which agents need not say.
  const elsewhere = cluster === undefined || cluster === DEFAULT_CLUSTER_NAME ? {} : { cluster: clusterName(cluster) };
  return { image, controlPlane, trustDomain: parseTrustDomain(trustDomain), ...elsewhere };
}

function readInput(file: string): string {
  try {
    const text = readFileSync(file === "-" ? 0 : file, "utf8");
    if (text.length > MAX_BYTES) throw new AppError("resource-exhausted", `the input is longer than ${MAX_BYTES} bytes`, { where: file });
    return text;
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError("not-found", "the file cannot be read", { where: file, cause });
  }
}

export const command: Command = {
  name: "inject",
  summary:
    "Adds the agent and Envoy to the pods of Kubernetes manifests, and prints them. Twice is the same as once; all else stays as it is.",
  options: {
    filename: { type: "value", short: "f", value: "FILE", doc: "YAML with any objects; - is standard input" },
    ...INJECT_OPTIONS,
    cluster: { type: "value", value: "NAME", doc: "the cluster whose pods they are, where the control plane serves several" },
    "trust-domain": { type: "value", value: "NAME", doc: "the control plane's trust domain", default: "cluster.local" },
    "dns-capture": {
      type: "flag",
      doc: "agents answer DNS where pods do not say otherwise, as `ISTIO_META_DNS_CAPTURE` of the MeshConfig has it",
    },
  },
  examples: [
    "garrison inject -f app.yaml --inject-image registry.example/garrison:0.1.0 | kubectl apply -f -",
    "kustomize build . | garrison inject -f - --inject-image registry.example/garrison:0.1.0",
  ],
  run: async (parsed) => {
    const file = required(parsed, "filename");
    const options = { ...injectOptions(parsed, required(parsed, "trust-domain")), dnsCapture: parsed.flag("dns-capture") };
    const text = readInput(file);
    try {
      process.stdout.write(injectManifests(text, options, (object, note) => void process.stderr.write(`${object}: ${note}\n`)));
    } catch (thrown) {
      const { code, message, help } = AppError.from(thrown);
      throw new AppError(code, message, { where: file, ...(help === undefined ? {} : { help }) });
    }
    return EXIT.ok;
  },
};
