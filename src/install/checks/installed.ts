/** Whether an installation is as it should be, by what the cluster says of it. */
import { X509Certificate } from "node:crypto";
import { SIDECAR } from "../../capture/inject/containers.ts";
import { OF_KUBERNETES } from "../../sources/kubernetes/namespaces.ts";
import { readLive } from "../apply.ts";
import { customResourceDefinitions } from "../chart.ts";
import { CRD, collectionUrl } from "../kinds.ts";
import { list, plain, text } from "../plain.ts";
import { controlPlanesMissing, isServed, webhookBundles } from "../readiness.ts";
import type { JsonObject } from "../template.ts";
import { API_SERVER } from "./before.ts";
import { type Check, failed, items, OK, some, warning } from "./check.ts";
import { REVISIONS } from "./revisions.ts";

const DAY_MS = 86_400_000;
/** Before then a root is to be replaced. */
const SOON_DAYS = 30;
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

const SERVED: Check = {
  id: "schemas-served",
  title: "the API server serves all kinds",
  run: async ({ api }) => {
    const missing = await Promise.all(
      customResourceDefinitions().map(async (each) => ((await isServed(api, each)) === undefined ? [] : [each.metadata.name])),
    );
    const names = missing.flat();
    return names.length === 0 ? OK : failed(`it does not serve ${some(names)}`, "run `garrison install` again");
  },
};

const READY: Check = {
  id: "control-plane",
  title: "all control planes are ready",
  run: async ({ api, namespace }) => {
    const missing = await controlPlanesMissing(api, namespace);
    return missing === undefined ? OK : failed(missing, `see \`kubectl -n ${namespace} describe pods -l app=garrison\``);
  },
};

const BUNDLES: Check = {
  id: "webhooks",
  title: "the API server knows the control plane by roots that hold for a while",
  run: async ({ api, now }) => {
    const bundles = await webhookBundles(api);
    if (bundles.size === 0) return failed("there are no webhooks", "run `garrison install` again");
    const bare = [...bundles].filter(([, bundle]) => bundle === null).map(([name]) => name);
    if (bare.length > 0) return failed(`no root is in ${some(bare)}`, "the control plane writes it: read its log");
    const ends = [...bundles.values()].flatMap((pem) =>
      (pem?.match(CERTIFICATE) ?? []).map((each) => new X509Certificate(each).validToDate.getTime()),
    );
    const last = Math.max(...ends);
    if (ends.length === 0 || last < now)
      return failed("the roots have expired, or are none", "the control plane writes them: read its log");
    if (last - now > SOON_DAYS * DAY_MS) return OK;
    return warning(
      `the last root ends in ${Math.floor((last - now) / DAY_MS)} days`,
      "bring another root: docs/concepts/kubernetes.md, A CA of your own",
    );
  },
};

function nameOf(object: JsonObject): string {
  const { namespace, name } = plain(object.metadata);
  return [namespace, name].map(text).filter(Boolean).join("/");
}

const ROOTS: Check = {
  id: "roots",
  title: "every namespace has the same roots as the webhooks, but for Kubernetes' own",
  run: async ({ api }) => {
    const wanted = [...(await webhookBundles(api)).values()][0] ?? "";
    const query = `fieldSelector=${encodeURIComponent("metadata.name=istio-ca-root-cert")}`;
    const maps = new Map(
      (await items(api, `/api/v1/configmaps?${query}`)).map((map) => [
        text(plain(map.metadata).namespace),
        text(plain(map.data)["root-cert.pem"]),
      ]),
    );
    const namespaces = (await items(api, "/api/v1/namespaces")).filter(({ status }) => plain(status).phase !== "Terminating").map(nameOf);
    const others = namespaces.filter((namespace) => !OF_KUBERNETES.has(namespace) && maps.get(namespace)?.trim() !== wanted.trim());
    return others.length === 0
      ? OK
      : failed(`others, or none, are in ${some(others)}`, "the control plane writes them within seconds: read its log");
  },
};

interface Said {
  readonly name: string;
  readonly status: string | undefined;
  readonly message: string;
}

async function conditionOf(api: Parameters<typeof items>[0], type: string): Promise<readonly Said[]> {
  const schemas = (await Promise.all(customResourceDefinitions().map((each) => readLive(api, each)))).filter((live) => live !== undefined);
  const all = schemas.map(async ({ spec }) => {
    const { group, names } = plain(spec);
    const { plural, kind } = plain(names);
    const version =
      list(plain(spec).versions)
        .map(({ name }) => text(name))
        .find((name) => name === "v1") ?? "v1beta1";
    const url = collectionUrl({ ...CRD, apiVersion: `${text(group)}/${version}`, resource: text(plural) });
    return (await items(api, url)).map((object): Said => {
      const condition = list(plain(object.status).conditions).find((each) => each.type === type);
      return {
        name: `${text(kind)} ${nameOf(object)}`,
        status: condition === undefined ? undefined : text(condition.status),
        message: text(condition?.message),
      };
    });
  });
  return (await Promise.all(all)).flat();
}

const ACCEPTED: Check = {
  id: "accepted",
  title: "every policy is accepted",
  run: async ({ api }) => {
    const said = await conditionOf(api, "Accepted");
    const refused = said.filter(({ status }) => status === "False");
    const [worst] = refused;
    if (worst !== undefined)
      return failed(
        `${some(refused.map(({ name }) => name))}: ${worst.message.slice(0, 300)}`,
        "its `status` says what is wrong: put it right",
      );
    const silent = said.filter(({ status }) => status === undefined).map(({ name }) => name);
    return silent.length === 0
      ? OK
      : warning(
          `nobody has said anything yet of ${some(silent)}`,
          "wait some seconds; then read the log of the control plane that holds the Lease",
        );
  },
};

/** In the order in which they are made. */
export const INSTALLED: readonly Check[] = [API_SERVER, SERVED, READY, BUNDLES, ROOTS, REVISIONS, ACCEPTED];

const ENFORCED: Check = {
  id: "enforced",
  title: "every policy is in force on all connected proxies that it is for",
  run: async ({ api }) => {
    const behind = (await conditionOf(api, "Enforced")).filter(({ status }) => status === "False");
    const [first] = behind;
    if (first === undefined) return OK;
    return failed(
      `${some(behind.map(({ name }) => name))}: ${first.message}`,
      "`garrison status` in a control plane's pod names the proxy, and what it said",
    );
  },
};

const PROXIES: Check = {
  id: "proxies",
  title: "every injected pod has a certificate, and a proxy that runs",
  run: async ({ api }) => {
    const pods = await items(api, `/api/v1/pods?labelSelector=${encodeURIComponent("security.istio.io/tlsMode=istio")}`);
    const running = pods.filter(({ status }) => !["Succeeded", "Failed"].includes(text(plain(status).phase)));
    // The agent is ready when it has a certificate and its proxy its configuration.
    const broken = running.filter(({ status }) => {
      const states = [...list(plain(status).initContainerStatuses), ...list(plain(status).containerStatuses)];
      return states.find(({ name }) => name === SIDECAR)?.ready !== true;
    });
    if (broken.length > 0) return failed(some(broken.map(nameOf)), `see \`kubectl logs POD -c ${SIDECAR}\``);
    return running.length > 0
      ? OK
      : warning("no pod is injected", "give a namespace the label `istio-injection: enabled`, and make its pods anew");
  },
};

/** In the order in which they are made. */
export const OF_PROXIES: readonly Check[] = [API_SERVER, PROXIES, ENFORCED];
