/** Which of the rights that the chart gives the control plane it has made use of, by the API server's own record. */
import { renderChart } from "../../src/install/chart.ts";
import type { AuditedRequest } from "./api-server.ts";
import type { Cluster } from "./cluster.ts";

const USER = "system:serviceaccount:garrison-system:garrison";

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

/** `VERB GROUP/RESOURCE`, and the name of the object where the right is narrowed to it. */
function rightOf(verb: string, group: string, resource: string, name?: string): string {
  return `${verb} ${group === "" ? "" : `${group}/`}${resource}${name === undefined ? "" : ` ${name}`}`;
}

/** Every right of the roles that a control plane has by the chart as it is. */
export function grantedRights(): ReadonlySet<string> {
  const roles = renderChart("garrison", "garrison-system").objects.filter(({ kind }) => kind === "ClusterRole" || kind === "Role");
  const rules = roles.flatMap((role) => role.rules as readonly Rule[]);
  return new Set(
    rules.flatMap(({ apiGroups, resources, resourceNames = [undefined], verbs }) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) => resourceNames.flatMap((name) => verbs.map((verb) => rightOf(verb, group, resource, name)))),
      ),
    ),
  );
}

function usedBy({ verb, objectRef }: AuditedRequest): readonly string[] {
  if (objectRef === undefined) return [];
  const { apiGroup = "", resource, subresource, name } = objectRef;
  const full = subresource === undefined ? resource : `${resource}/${subresource}`;
  return [rightOf(verb, apiGroup, full), ...(name === undefined ? [] : [rightOf(verb, apiGroup, full, name)])];
}

/** What of these rights the control plane of a cluster has not made use of. */
export function unusedRights(cluster: Cluster, rights: Iterable<string>): readonly string[] {
  const used = new Set(cluster.server.requestsOf(USER).flatMap(usedBy));
  return [...rights].filter((right) => !used.has(right)).sort();
}

/** What machines that register themselves need: `vm-join.test.ts` shows that they do. */
export const OF_MACHINES: readonly string[] = ["get", "create", "update", "patch", "delete"].map((verb) =>
  rightOf(verb, "networking.istio.io", "workloadentries"),
);
