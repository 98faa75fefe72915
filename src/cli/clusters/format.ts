import type { ClusterStatus } from "../../server/cluster/cluster-status.ts";

/** What a person reads of one cluster. */
export function describeCluster(cluster: ClusterStatus): readonly string[] {
  const { name, state, pods, problem } = cluster;
  const count = `${pods} ${pods === 1 ? "pod" : "pods"}`;
  const told = problem === undefined || state === "own" ? [] : [`  ${problem}`];
  if (state === "own") return [`${name} own: its policies hold for all, ${count}`];
  const { server, secret, since, namespaces, unkept } = cluster;
  const when = since === undefined ? "" : ` since ${new Date(since).toISOString()}`;
  const only = namespaces === undefined || state === "refused" ? "" : `, speaks for ${namespaces.join(", ") || "no namespace"} alone`;
  return [
    `${name} ${state}${when}, ${count}${only}`,
    `  ${server === undefined ? "" : `${server}, `}Secret ${secret}`,
    ...told,
    ...unkept.map((what) => `  ${what}`),
  ];
}
