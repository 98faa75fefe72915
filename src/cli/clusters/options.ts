/** What the commands share that prepare another cluster for a control plane elsewhere. */
import { AppError } from "../../core/error.ts";
import type { Manifest } from "../../install/chart.ts";
import { nameOf } from "../../install/kinds.ts";
import { prepareCluster } from "../../install/remote-cluster.ts";
import type { JoiningCluster } from "../../install/remote-roots.ts";
import { remoteSecret } from "../../install/remote-secret.ts";
import { isDnsLabel } from "../../policy/decode/kubernetes-name.ts";
import { type HttpsApi, openKubernetesApi } from "../../sources/kubernetes/api.ts";
import type { OptionSpecs, ParsedArguments } from "../command.ts";
import { checkedNamespace, KUBECONFIG_OPTION, NAMESPACE_OPTION, namespaceOf } from "../install-options.ts";
import { clusterName, parseCount, required } from "../options.ts";

const MAX_SECONDS = 3_600;

/** Of the cluster itself, and of where its Secret is. */
export const CLUSTER_OPTIONS = {
  kubeconfig: {
    ...KUBECONFIG_OPTION,
    doc: "the kubeconfig of the cluster; without it KUBECONFIG, ~/.kube/config or the pod's own account",
  },
  name: { type: "value", value: "NAME", doc: "the cluster's name, which its agents say by --cluster" },
  namespace: { ...NAMESPACE_OPTION, doc: "the namespace of the control plane's account in the cluster" },
  "secret-namespace": {
    type: "value",
    value: "NAME",
    doc: "the Secret's namespace in the control plane's cluster, which `garrison serve --remote-clusters` names",
    default: "istio-system",
  },
} as const satisfies OptionSpecs;

export const PREPARE_OPTIONS = {
  ...CLUSTER_OPTIONS,
  server: { type: "value", value: "URL", doc: "the API server as the control plane reaches it; as the kubeconfig has it without" },
  webhooks: {
    type: "value",
    value: "URL",
    doc: "the control plane's webhooks as the cluster's API server reaches them, such as https://mesh.example.org: it then injects pods, and tells of policies; none without",
  },
  revision: { type: "value", value: "NAME", doc: "the `istio.io/rev` of namespaces and pods that means this mesh", default: "default" },
  "injection-failure": {
    type: "value",
    value: "POLICY",
    doc: "Fail: while no control plane can be asked, pods that are to be injected are not made; Ignore: they are, without protection",
    default: "Fail",
  },
  "only-namespace": { type: "many", value: "NAME", doc: "the cluster speaks for this namespace; for all, where none is named" },
  timeout: { type: "value", value: "SECONDS", doc: "how long all of it may take", default: "60" },
} as const satisfies OptionSpecs;

/** The kubeconfig of the other side. */
export const CONTROL_PLANE_KUBECONFIG = {
  type: "value",
  value: "FILE",
  doc: "the kubeconfig of the control plane's cluster",
} as const satisfies OptionSpecs[string];

const HTTPS = /^https:\/\/[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?(?::\d{1,5})?$/;

/** Throws `invalid-argument`. */
function serverUrl(text: string): string {
  if (URL.canParse(text) && new URL(text).protocol === "https:") return text;
  throw new AppError("invalid-argument", `\`${text}\` is not the address of an API server`, { help: "write it as https://HOST:PORT" });
}

/** Throws `invalid-argument`. */
function webhooksUrl(text: string): string {
  if (HTTPS.test(text)) return text;
  throw new AppError("invalid-argument", `\`${text}\` is not where webhooks are served`, {
    help: "write it as https://HOST or https://HOST:PORT, with the host that `garrison serve --remote-control-plane` names",
  });
}

/** Throws `invalid-argument`. */
function failurePolicy(text: string): "Fail" | "Ignore" {
  if (text === "Fail" || text === "Ignore") return text;
  throw new AppError("invalid-argument", `\`${text}\` of \`--injection-failure\` is neither \`Fail\` nor \`Ignore\``);
}

/** Throws `invalid-argument`. */
function revisionOf(text: string): string {
  if (isDnsLabel(text)) return text;
  throw new AppError("invalid-argument", `\`${text}\` of \`--revision\` is not a revision`, {
    help: "use lower-case letters, digits and dashes",
  });
}

export interface AskedCluster {
  readonly name: string;
  readonly namespace: string;
  readonly secretNamespace: string;
}

/** Throws `invalid-argument`. */
export function askedCluster(parsed: ParsedArguments): AskedCluster {
  const secretNamespace = checkedNamespace(required(parsed, "secret-namespace"));
  return { name: clusterName(required(parsed, "name")), namespace: namespaceOf(parsed), secretNamespace };
}

export interface Prepared extends AskedCluster {
  readonly api: HttpsApi;
  /** For the control plane's cluster. */
  readonly secret: Manifest;
  /** The namespaces that the cluster speaks for; none: all. */
  readonly namespaces: readonly string[];
  readonly signal: AbortSignal;
}

/** Prepares the cluster that the options name, and tells of each object. Throws as `prepareCluster` does, and `invalid-argument`. */
export async function prepare(parsed: ParsedArguments, tell: (line: string) => void): Promise<Prepared> {
  const asked = askedCluster(parsed);
  const [server, webhooks] = [parsed.value("server"), parsed.value("webhooks")];
  const [given, url] = [server === undefined ? undefined : serverUrl(server), webhooks === undefined ? undefined : webhooksUrl(webhooks)];
  const namespaces = parsed.values("only-namespace").map(checkedNamespace);
  const revision = revisionOf(required(parsed, "revision"));
  const injectionFailure = failurePolicy(required(parsed, "injection-failure"));
  const signal = AbortSignal.timeout(parseCount("timeout", required(parsed, "timeout"), 1, MAX_SECONDS) * 1000);
  const api = await openKubernetesApi({ file: parsed.value("kubeconfig") });
  const { name, namespace, secretNamespace } = asked;
  const reader = await prepareCluster({
    api,
    name,
    namespace,
    webhooks: url,
    revision,
    injectionFailure,
    signal,
    report: (manifest, outcome) => tell(`${nameOf(manifest)} ${outcome}`),
  });
  const secret = remoteSecret({ name, server: given ?? api.server, reader, namespace: secretNamespace, namespaces });
  return { ...asked, api, secret, namespaces, signal };
}

interface JoiningOptions extends Pick<JoiningCluster, "api" | "home">, Omit<AskedCluster, "name"> {
  /** Those that the cluster speaks for; none: all. */
  readonly namespaces: readonly string[];
}

/** Where the control plane's roots show that it has taken the cluster in: in the namespaces that it speaks for, in one where it speaks for all. */
export function joiningCluster({ api, home, namespace, secretNamespace, namespaces }: JoiningOptions): JoiningCluster {
  return { api, home, homeNamespace: secretNamespace, namespaces: namespaces.length === 0 ? [namespace] : namespaces };
}
