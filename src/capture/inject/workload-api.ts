/**
 * The SPIFFE Workload API for the pod's own containers: those that an annotation names, and no others, have the folder of its socket, to read.
 * Who has the folder is the workload, whatever user it runs as.
 */
import { AppError } from "../../core/error.ts";
import { isPlain, listOf, type Plain, textOf } from "./plain.ts";

/** Names of containers with commas between them; `*` is all of the pod's own. */
const ANNOTATION = "garrison.dev/workload-api";
const ALL = "*";
const MAX_LENGTH = 4096;

const VOLUME = "garrison-workload-api";
/** Where Istio's agents have theirs. */
const FOLDER = "/var/run/secrets/workload-spiffe-uds";
/** An emptyDir is everybody's: the agent makes a folder of its own in it. */
const ENDPOINT = `unix://${FOLDER}/agent/socket`;
const VARIABLE = "SPIFFE_ENDPOINT_SOCKET";

/** What the sidecar gets; nothing of it where no container is named. */
export const WORKLOAD_API = {
  volume: { name: VOLUME, emptyDir: { medium: "Memory", sizeLimit: "1Mi" } },
  mount: { name: VOLUME, mountPath: FOLDER },
  arguments: [`--workload-api=${ENDPOINT}`, `--workload-api-group=${ALL}`],
} as const;

function refuse(message: string, help: string): AppError {
  return new AppError("invalid-configuration", message, { help });
}

/** The containers that are to have it, or `*`; empty where the pod does not say. Throws `invalid-configuration` for a name that no container of the pod has. */
export function workloadApiContainers(annotations: Plain, spec: Plain): ReadonlySet<string> {
  const text = annotations[ANNOTATION];
  if (text === undefined) return new Set();
  if (typeof text !== "string" || text.length > MAX_LENGTH)
    throw refuse(`annotation \`${ANNOTATION}\` is not a short text`, "put it in quotes");
  const own = [...listOf(spec, "containers"), ...listOf(spec, "initContainers")].map((container) => textOf(container, "name"));
  const said = text.split(",").map((name) => name.trim());
  const unknown = said.find((name) => name !== ALL && !own.includes(name));
  if (unknown !== undefined)
    throw refuse(
      `annotation \`${ANNOTATION}\` names \`${unknown.slice(0, 100)}\`, which is no container of the pod`,
      "name containers with commas between them, or `*` for all",
    );
  return new Set(said.includes(ALL) ? own : said);
}

function admitted(container: Plain): Plain {
  const name = textOf(container, "name");
  const [env, mounts] = [listOf(container, "env"), listOf(container, "volumeMounts")];
  if (env.some((each) => textOf(each, "name") === VARIABLE))
    throw refuse(
      `container \`${name}\` has a \`${VARIABLE}\` of its own`,
      `remove it, or the container's name from annotation \`${ANNOTATION}\``,
    );
  if (mounts.some((each) => textOf(each, "mountPath").replace(/\/+$/, "") === FOLDER))
    throw refuse(`container \`${name}\` has something else at \`${FOLDER}\``, "mount it elsewhere");
  return {
    ...container,
    env: [...env, { name: VARIABLE, value: ENDPOINT }],
    volumeMounts: [...mounts, { ...WORKLOAD_API.mount, readOnly: true }],
  };
}

/** The containers, with what those need that are named. Throws `invalid-configuration` for one that has another already. */
export function withWorkloadApi(containers: readonly unknown[], names: ReadonlySet<string>): readonly unknown[] {
  return containers.map((each) => (isPlain(each) && names.has(textOf(each, "name")) ? admitted(each) : each));
}
