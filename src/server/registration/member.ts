/** A member of a WorkloadGroup, and the WorkloadEntry that stands for it. */
import { SocketAddress } from "node:net";
import { AppError } from "../../core/error.ts";
import { decodeObject } from "../../policy/decode/decode.ts";
import { isDnsSubdomain } from "../../policy/decode/kubernetes-name.ts";
import { parseIpAddress } from "../../policy/ip-block.ts";
import type { WorkloadEntryObject, WorkloadGroupObject } from "../../policy/model.ts";
import { HEALTHY } from "../../sources/kubernetes/api-objects.ts";
import { HEALTH_CHECKED, REGISTRATION_GROUP, withHealth } from "../../sources/kubernetes/entry-health.ts";
import { objectTree } from "../../sources/kubernetes/object-tree.ts";

export interface Member {
  /** `NAMESPACE/NAME` of its group. */
  readonly group: string;
  readonly namespace: string;
  /** Of its WorkloadEntry. */
  readonly name: string;
  /** `NAMESPACE/NAME` of its WorkloadEntry. */
  readonly workload: string;
  /** Canonical. */
  readonly address: string;
}

/** How a member's application is, as its agent says. */
export interface ReportedHealth {
  readonly healthy: boolean;
  readonly detail: string;
}

/** The one text of an IP address (RFC 5952); an IPv4-mapped one is its IPv4 address. Undefined for what is none. */
export function canonicalAddress(text: string): string | undefined {
  const parsed = parseIpAddress(text);
  if (parsed === undefined) return undefined;
  return parsed.family === 4 ? parsed.bytes.join(".") : new SocketAddress({ address: text, family: "ipv6" }).address;
}

/** Of a canonical address. Its entry is named as Istio names it: `GROUP-ADDRESS`, with `-` for `:`. Throws `invalid-argument` for a name that Kubernetes has none of. */
export function memberOf(group: WorkloadGroupObject, address: string): Member {
  const { namespace, name: groupName } = group.meta;
  const name = `${groupName}-${address.replaceAll(":", "-")}`;
  if (!isDnsSubdomain(name))
    throw new AppError("invalid-argument", `no WorkloadEntry can be named \`${name.slice(0, 300)}\``, {
      help: "give the group a shorter name",
    });
  return { group: `${namespace}/${groupName}`, namespace, name, workload: `${namespace}/${name}`, address };
}

/** The entry as it is written, without what only its writer knows. */
export function entryDocument(group: WorkloadGroupObject, { namespace, name, address }: Member) {
  const labels = Object.fromEntries(group.labels);
  const annotations: Readonly<Record<string, string>> = {
    ...Object.fromEntries(group.annotations),
    [REGISTRATION_GROUP]: group.meta.name,
    ...(group.probe === undefined ? {} : { [HEALTH_CHECKED]: "true" }),
  };
  return {
    apiVersion: "networking.istio.io/v1",
    kind: "WorkloadEntry",
    metadata: { name, namespace, labels, annotations },
    spec: { address, labels, ports: Object.fromEntries(group.ports), serviceAccount: group.serviceAccount },
  } as const;
}

/** What of the condition is the report's own. */
export function conditionOf({ healthy, detail }: ReportedHealth) {
  return { type: HEALTHY, status: healthy ? "True" : "False", message: detail } as const;
}

/** The entry as the mesh takes it; `health` is undefined where nothing was reported. Throws `invalid-configuration` where its group makes none. */
export function registeredEntry(group: WorkloadGroupObject, member: Member, health: ReportedHealth | undefined): WorkloadEntryObject {
  const status = { conditions: health === undefined ? [] : [conditionOf(health)] };
  const body = { ...entryDocument(group, member), status };
  const { place } = group.meta;
  const { object, diagnostics } = withHealth({ ...decodeObject(objectTree(body, place)), place }, body);
  if (object?.kind === "WorkloadEntry") return object;
  const [first] = diagnostics;
  throw new AppError("invalid-configuration", `WorkloadGroup \`${member.group}\` makes no WorkloadEntry: ${first?.message ?? "?"}`, {
    ...(first?.help === undefined ? {} : { help: first.help }),
  });
}
