/** Who may be a member of a group, and with which address. Whatever is not certain is refused. */
import { AppError } from "../../core/error.ts";
import { formatSpiffeId } from "../../identity/spiffe-id.ts";
import { addressesOf, type MeshSnapshot } from "../../mesh/snapshot.ts";
import { ADDRESSES_ANNOTATION, parseAddressBlocks } from "../../policy/decode/workload-group.ts";
import { blockContains, type IpAddress, parseIpAddress, parseIpBlock } from "../../policy/ip-block.ts";
import type { WorkloadGroupObject } from "../../policy/model.ts";
import { canonicalAddress, type Member, memberOf } from "./member.ts";

export interface Claim {
  /** A SPIFFE ID, proven. */
  readonly identity: string;
  /** `NAMESPACE/NAME`, as it was said. */
  readonly group: string;
  /** As it was said. */
  readonly address: string;
  /** Where the connection comes from: `ADDRESS:PORT` or `[ADDRESS]:PORT`. */
  readonly peer: string;
}

export interface AdmittedMember {
  readonly group: WorkloadGroupObject;
  readonly member: Member;
}

/** Throws `permission-denied` where the caller has not the group's identity. */
function groupOf({ workloadGroups, identities, revoked, settings }: MeshSnapshot, { identity, group: key }: Claim): WorkloadGroupObject {
  const group = workloadGroups.get(key);
  const wanted =
    group === undefined
      ? undefined
      : formatSpiffeId({ trustDomain: settings.trustDomain, namespace: group.meta.namespace, serviceAccount: group.serviceAccount });
  // One answer for both, so that a caller learns nothing of groups that are not its own.
  if (group === undefined || wanted !== identity) {
    throw new AppError("permission-denied", `\`${identity}\` is not the identity of a WorkloadGroup \`${key.slice(0, 300)}\``, {
      help: "the WorkloadGroup must exist, and its template name the caller's service account",
    });
  }
  if (identities.has(identity) && !revoked.identities.has(identity)) return group;
  throw new AppError("permission-denied", `\`${identity}\` is the identity of nobody: its service account is gone, or was revoked`);
}

function mayClaim({ meta: { annotations } }: WorkloadGroupObject, address: IpAddress): boolean {
  return parseAddressBlocks(annotations.get(ADDRESSES_ANNOTATION) ?? "").some((block) => blockContains(block, address));
}

/** Addresses that are nobody's. */
const NOBODYS = ["0.0.0.0/8", "224.0.0.0/3", "::/128", "ff00::/8"].map(parseIpBlock);
/** Addresses that mean another machine on each machine. */
const LOCAL = ["127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10"].map(parseIpBlock);

/** As the connection shows it; undefined where it shows none that others could call. */
function shownBy(peer: string): string | undefined {
  const from = canonicalAddress(/^\[?([^\]]+?)\]?:\d+$/.exec(peer)?.[1] ?? "");
  const parsed = from === undefined ? undefined : parseIpAddress(from);
  return parsed === undefined || LOCAL.some((block) => blockContains(block, parsed)) ? undefined : from;
}

function checkAddress(group: WorkloadGroupObject, address: string, peer: string): string {
  const parsed = parseIpAddress(address);
  const canonical = canonicalAddress(address);
  if (parsed === undefined || canonical === undefined || NOBODYS.some((block) => blockContains(block, parsed)))
    throw new AppError("invalid-argument", `\`${address.slice(0, 100)}\` is not the address of a machine`, {
      help: "say `--address`, such as 10.1.2.3",
    });
  if (mayClaim(group, parsed)) return canonical;
  if (LOCAL.some((block) => blockContains(block, parsed)))
    throw new AppError("permission-denied", `\`${canonical}\` is no address by which others reach this machine`, {
      help: "say `--address` with one that is",
    });
  const from = canonicalAddress(/^\[?([^\]]+?)\]?:\d+$/.exec(peer)?.[1] ?? "");
  if (from === canonical) return canonical;
  throw new AppError("permission-denied", `the connection comes from \`${from ?? peer}\`, and not from \`${canonical}\``, {
    help: `where something stands between that changes addresses, name the members' in the WorkloadGroup's annotation \`${ADDRESSES_ANNOTATION}\``,
  });
}

interface Owner {
  /** `KIND NAMESPACE/NAME`. */
  readonly who: string;
  readonly namespace: string;
  /** Somebody wrote that it is there, and nothing proves it: not the cluster's word, nor that of a machine that registered itself. */
  readonly isWritten: boolean;
}

type Owned = readonly [address: string, owner: Owner];

function ownersOf(snapshot: MeshSnapshot): readonly Owned[] {
  const workloads = [...snapshot.workloads.values()].flatMap((workload): Owned[] => {
    const { kind, key, namespace, health } = workload;
    const isWritten = kind === "WorkloadEntry" && health?.group === undefined;
    return addressesOf(workload).map((address) => [address, { who: `${kind} ${key}`, namespace, isWritten }]);
  });
  const named = (kind: string, { namespace, name }: { readonly namespace: string; readonly name: string }, isWritten = true): Owner => ({
    who: `${kind} ${namespace}/${name}`,
    namespace,
    isWritten,
  });
  const entries = snapshot.serviceEntries.flatMap(({ meta, endpoints, addresses = [] }) => {
    const inline = endpoints.kind === "inline" ? endpoints.list.map(({ address }) => address) : [];
    return [...inline, ...addresses].map((address): Owned => [address, named("ServiceEntry", meta)]);
  });
  const services = snapshot.services.flatMap(({ meta, addresses = [] }) =>
    addresses.map((address): Owned => [address, named("Service", meta, false)]),
  );
  // Those of pods are the pods' own.
  const slices = snapshot.endpointSlices.flatMap(({ meta, endpoints }) =>
    endpoints.filter(({ pod }) => pod === undefined).map(({ address }): Owned => [address, named("EndpointSlice", meta)]),
  );
  return [...workloads, ...entries, ...services, ...slices];
}

/** By canonical address; made when it is first asked of a snapshot. */
const owners = new WeakMap<MeshSnapshot, ReadonlyMap<string, readonly Owner[]>>();

function ownersByAddress(snapshot: MeshSnapshot): ReadonlyMap<string, readonly Owner[]> {
  const known = owners.get(snapshot);
  if (known !== undefined) return known;
  const byAddress = new Map<string, Owner[]>();
  for (const [address, owner] of ownersOf(snapshot)) {
    const canonical = canonicalAddress(address);
    if (canonical === undefined) continue;
    const others = byAddress.get(canonical) ?? [];
    others.push(owner);
    byAddress.set(canonical, others);
  }
  owners.set(snapshot, byAddress);
  return byAddress;
}

/**
 * Throws `already-exists` for an address that something else in the mesh has. Who shows an address by his connection is not put out of it by what somebody wrote
 * in another namespace.
 */
function checkFree(snapshot: MeshSnapshot, { address, workload, group }: Member, isShown: boolean): void {
  const [namespace, groupName] = group.split("/");
  const counts = ({ isWritten, namespace: author }: Owner): boolean =>
    !isShown || !isWritten || author === namespace || author === snapshot.settings.rootNamespace;
  const other = ownersByAddress(snapshot)
    .get(address)
    ?.find((owner) => owner.who !== `WorkloadEntry ${workload}` && counts(owner));
  if (other !== undefined)
    throw new AppError("already-exists", `the address \`${address}\` is that of ${other.who}`, {
      help: "take that away first, or join with another `--address`",
    });
  const written = snapshot.workloads.get(workload);
  if (written !== undefined && (written.kind !== "WorkloadEntry" || written.health?.group !== groupName))
    throw new AppError("already-exists", `there is a ${written.kind} \`${workload}\` already that nobody has registered`, {
      help: "remove it, or name the group differently",
    });
}

/** The member that a caller would be. Throws `permission-denied`, `invalid-argument`, `already-exists`. */
export function admitMember(snapshot: MeshSnapshot, claim: Claim): AdmittedMember {
  const group = groupOf(snapshot, claim);
  const member = memberOf(group, checkAddress(group, claim.address, claim.peer));
  checkFree(snapshot, member, shownBy(claim.peer) === member.address);
  return { group, member };
}
