/** What objects say of others that are not there. */
import type { Diagnostic } from "../core/diagnostic.ts";
import { formatSpiffeId, parseSpiffeId } from "../identity/spiffe-id.ts";
import { closest } from "../policy/decode/suggest.ts";
import type { MeshObject } from "../policy/model.ts";
import { type MeshSnapshot, workloadKey } from "./snapshot.ts";

/** Those that an object declares, and those that somebody is in. */
function inhabitedNamespaces({ namespaces, workloads, identities }: MeshSnapshot): ReadonlySet<string> {
  const ofWorkloads = [...workloads.values()].map(({ namespace }) => namespace);
  return new Set([...namespaces, ...ofWorkloads, ...[...identities].map((identity) => parseSpiffeId(identity).namespace)]);
}

function nearNamespace(name: string, known: ReadonlySet<string>): string {
  const meant = closest(name, [...known].slice(0, 1000));
  return meant === undefined ? `add an object of kind Namespace with the name \`${name}\`, or name another` : `did you mean \`${meant}\`?`;
}

function byPlace({ meta: { place: left } }: MeshObject, { meta: { place: right } }: MeshObject): number {
  if (left.file !== right.file) return left.file < right.file ? -1 : 1;
  return left.line - right.line || left.column - right.column;
}

const MAX_NAMED = 6;

/** All objects of one namespace where nobody is, told at the first of them. */
function inNoNamespace(objects: readonly MeshObject[], known: ReadonlySet<string>): readonly Diagnostic[] {
  const [first, ...others] = objects;
  if (first === undefined) return [];
  const { namespace, place } = first.meta;
  const names = others.slice(0, MAX_NAMED).map(({ kind, meta }) => `${kind} \`${meta.name}\``);
  const rest = others.length - names.length;
  const also =
    names.length === 0 ? "" : `; so ${others.length === 1 ? "is" : "are"} ${names.join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
  const message = `${first.kind} \`${first.meta.name}\` is in namespace \`${namespace}\`, where nobody is: there is no workload or ServiceAccount in it, and no object of kind Namespace${also}`;
  const help = `${nearNamespace(namespace, known)}; until then an object that its file held before under this name stays in force`;
  return [{ code: "GAR0215", message, place, help }];
}

/** Workloads that ask for names or addresses by which nobody would call: their traffic is not captured, or their questions are not. */
function uselessNames({ workloads }: MeshSnapshot, objects: readonly MeshObject[]): readonly Diagnostic[] {
  return objects.flatMap((object) => {
    if (object.kind !== "WorkloadEntry" && object.kind !== "Pod") return [];
    const { dnsCapture, dnsAutoAllocate } = object.proxyConfig ?? {};
    const key = workloadKey(object.meta.namespace, object.meta.name, object.kind === "Pod" ? object.cluster : undefined);
    if ((!dnsCapture && !dnsAutoAllocate) || workloads.get(key)?.dnsCapture) return [];
    const message = dnsCapture
      ? `workload \`${key}\` says \`ISTIO_META_DNS_CAPTURE\`, and its traffic is not captured: its agent answers no DNS`
      : `workload \`${key}\` says \`ISTIO_META_DNS_AUTO_ALLOCATE\` without \`ISTIO_META_DNS_CAPTURE\`: no name leads to such an address`;
    const help = dnsCapture ? "say `sidecar.istio.io/interceptionMode: REDIRECT` of it too, or remove the word" : "say both, or neither";
    return [{ code: "GAR0340" as const, message, place: object.meta.place, help }];
  });
}

/** References between objects that lead nowhere, and selectors that select nothing. The objects stay in force. */
export function checkReferences(snapshot: MeshSnapshot, objects: readonly MeshObject[]): readonly Diagnostic[] {
  const known = inhabitedNamespaces(snapshot);
  const astray = objects.filter(({ kind, meta }) => kind !== "Namespace" && !known.has(meta.namespace)).sort(byPlace);
  // An object of an API server has no lines, and a status of its own, which says it.
  const together = Map.groupBy(astray, ({ meta: { namespace, place } }) => (place.line === 0 ? `${namespace} ${place.file}` : namespace));
  const missingNamespaces = [...together.values()].flatMap((several) => inNoNamespace(several, known));
  const missingAccounts = [...snapshot.workloads.values()]
    .filter((workload) => !snapshot.identities.has(workload.identity))
    .map(
      (workload): Diagnostic => ({
        code: "GAR0102",
        message: `${workload.kind} \`${workload.key}\` runs as service account \`${workload.namespace}/${workload.serviceAccount}\`, which does not exist`,
        place: workload.place,
        help: "add the ServiceAccount: without it the workload gets no certificate",
      }),
    );
  return [...missingNamespaces, ...missingAccounts, ...groupsOfNobody(snapshot), ...uselessNames(snapshot, objects)];
}

function groupsOfNobody({ workloadGroups, identities, settings: { trustDomain } }: MeshSnapshot): readonly Diagnostic[] {
  return [...workloadGroups]
    .filter(([, { meta, serviceAccount }]) => !identities.has(formatSpiffeId({ trustDomain, namespace: meta.namespace, serviceAccount })))
    .map(
      ([key, { meta, serviceAccount }]): Diagnostic => ({
        code: "GAR0102",
        message: `WorkloadGroup \`${key}\` is of service account \`${meta.namespace}/${serviceAccount}\`, which does not exist`,
        place: meta.place,
        help: "add the ServiceAccount: without it nobody can register",
      }),
    );
}
