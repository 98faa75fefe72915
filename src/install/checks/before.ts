/** What an installation needs of a cluster. */
import { readLive } from "../apply.ts";
import { customResourceDefinitions } from "../chart.ts";
import { installedObjects } from "../install.ts";
import { CRD, helmRelease, INSTALLED_KINDS, type InstalledKind, isOurs } from "../kinds.ts";
import { count, list, plain, text } from "../plain.ts";
import { type Check, type CheckOptions, failed, OK, some, warning } from "./check.ts";

/** Of Kubernetes 1.x: match conditions of webhooks, admission policies, and sidecars that start before and end after a pod's containers. */
const LEAST_MINOR = 30;

const REACHED: Check = {
  id: "api-server",
  title: `the API server can be reached, and is Kubernetes 1.${LEAST_MINOR} or newer`,
  first: true,
  run: async ({ api }) => {
    const { status, body } = await api.call("GET", "/version");
    if (status !== 200) return failed(`it answers ${status}`, "log in again, or name another kubeconfig with `--kubeconfig`");
    const { major, minor, gitVersion } = plain(body);
    const isNew = Number(text(major)) > 1 || Number.parseInt(text(minor), 10) >= LEAST_MINOR;
    return isNew ? OK : failed(`it is ${text(gitVersion)}`, "upgrade the cluster first");
  },
};

async function denied({ api, namespace }: CheckOptions, of: InstalledKind, verb: string): Promise<readonly string[]> {
  const [group = "", version = ""] = of.apiVersion.includes("/") ? of.apiVersion.split("/") : ["", of.apiVersion];
  const resourceAttributes = { group, version, resource: of.resource, verb, ...(of.namespaced ? { namespace } : {}) };
  const body = { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", spec: { resourceAttributes } };
  const answer = await api.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body);
  return plain(plain(answer.body).status).allowed === true ? [] : [`${verb} ${of.resource}`];
}

const RIGHTS: Check = {
  id: "rights",
  title: "you may install what is to be installed",
  run: async (options) => {
    const asked = [CRD, ...INSTALLED_KINDS].flatMap((of) => ["get", "create", "patch"].map((verb) => denied(options, of, verb)));
    const missing = (await Promise.all(asked)).flat();
    if (missing.length === 0) return OK;
    return failed(
      `you may not ${some(missing)}`,
      "be an administrator of the cluster, or give one what `garrison install --dry-run client` prints",
    );
  },
};

const CLASHES: Check = {
  id: "clashes",
  title: "nobody else's objects have the names of ours",
  run: async ({ api, namespace }) => {
    const objects = installedObjects(namespace, []).filter(({ kind }) => kind !== "Namespace");
    const lives = (await Promise.all(objects.map((object) => readLive(api, object)))).filter((live) => live !== undefined);
    const helms = lives.find((live) => helmRelease(live) !== undefined);
    if (helms !== undefined)
      return failed(`Helm installed it, as the release \`${helmRelease(helms)}\``, "upgrade it by Helm, or uninstall it by Helm first");
    const others = lives.filter((live) => !isOurs(live)).map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    return others.length === 0 ? OK : failed(`there is ${some(others)}`, "remove it, if it is not needed");
  },
};

const SCHEMAS: Check = {
  id: "schemas",
  title: "the schemas of Istio's kinds are ours, or not there yet",
  run: async ({ api }) => {
    const lives = (await Promise.all(customResourceDefinitions().map((each) => readLive(api, each)))).filter((live) => live !== undefined);
    const others = lives.filter((live) => !isOurs(live));
    const old = others.filter(
      ({ spec }) => !list(plain(spec).versions).some(({ name, served }) => /^v1(?:beta1)?$/.test(text(name)) && served === true),
    );
    if (old.length > 0)
      return failed(`${some(old.map(({ metadata }) => metadata.name))} serve neither v1 nor v1beta1`, "upgrade Istio's schemas");
    if (others.length === 0) return OK;
    return warning(
      `${count(others.length)} are somebody else's, such as ${others[0]?.metadata.name}`,
      "they are used as they are, and whoever made them keeps them new",
    );
  },
};

/** In the order in which they are made. */
export const BEFORE: readonly Check[] = [REACHED, RIGHTS, CLASHES, SCHEMAS];

/** What every other check needs. */
export const API_SERVER: Check = REACHED;
