/** Whom a step of a rotation would cut off. */
import type { AuthorityHolder } from "../ca/ledger-query.ts";
import type { OwnCa } from "../ca/own-ca.ts";
import type { ServingStatus } from "../ca/serving.ts";
import type { MeshSnapshot } from "../mesh/snapshot.ts";
import type { HolderStatus } from "./trust-status.ts";

export const ROTATION_STEPS = ["prepare", "activate", "taint", "revoke"] as const;
export type RotationStep = (typeof ROTATION_STEPS)[number];

export interface CutOff {
  /** A SPIFFE ID; empty for a proxy of which no agent tells anything. */
  readonly identity: string;
  /** `NAMESPACE/NAME`; empty where it is not known which workload uses the certificates. */
  readonly workload: string;
  /** The authority that it depends on. */
  readonly authority: string;
  readonly why: string;
}

/** Proxies that would refuse what the step makes their peers present. */
export function blockersOf(step: RotationStep, { authorities }: OwnCa, id: string, holders: readonly HolderStatus[]): readonly CutOff[] {
  if (step === "prepare") return [];
  // What is tainted is replaced by what the active one signs.
  const needed = step === "activate" ? id : (authorities.find(({ state }) => state === "active")?.id ?? id);
  return holders
    .filter(({ roots }) => !roots.includes(needed))
    .map(({ workload, identity, refusal }) => ({
      workload,
      identity,
      authority: needed,
      why: refusal === "" ? "has not acknowledged the new root" : `has refused the new root: ${refusal}`,
    }));
}

/** Why an identity is not known to do without the authority; undefined where every workload of it has renewed. */
function whyNotRenewed(
  identity: string,
  id: string,
  holders: ReadonlyMap<string, readonly HolderStatus[]>,
  snapshot: MeshSnapshot,
): string | undefined {
  const workloads = [...snapshot.workloads.values()].filter((workload) => workload.identity === identity);
  if (workloads.length === 0) return "no workload of the mesh has this identity, so that nobody tells whether its certificates are in use";
  const away = workloads.filter(({ key }) => !holders.has(key)).map(({ key }) => key);
  if (away.length > 0) return `not connected: ${away.join(", ")}`;
  const waiting = workloads
    .filter(({ key }) => holders.get(key)?.some(({ authority }) => authority === "" || authority === id))
    .map(({ key }) => key);
  return waiting.length > 0 ? `not renewed: ${waiting.join(", ")}` : undefined;
}

/** The control plane itself, where it has a certificate of the authority and cannot have another: nobody would verify it any more. */
export function ownCutOff(id: string, { identity, authority, problem }: ServingStatus): readonly CutOff[] {
  if (authority !== id || problem === undefined) return [];
  const why = `the control plane's own certificate is of it and was not renewed: ${problem}; every agent would be cut off`;
  return [{ identity, workload: "", authority: id, why }];
}

/** Who depends on an authority: who uses a certificate of it, or may. */
export function cutOffBy(
  id: string,
  identities: readonly AuthorityHolder[],
  holders: readonly HolderStatus[],
  snapshot: MeshSnapshot,
): readonly CutOff[] {
  const byWorkload = Map.groupBy(holders, ({ workload }) => workload);
  const known = new Set(identities.map(({ identity }) => identity));
  const recorded = identities.flatMap(({ identity, certificates, until }) => {
    const why = whyNotRenewed(identity, id, byWorkload, snapshot);
    const life = `${certificates === 1 ? "1 certificate" : `${certificates} certificates`}, until ${new Date(until).toISOString()}`;
    return why === undefined ? [] : [{ identity, workload: "", authority: id, why: `${why} (${life})` }];
  });
  // What the ledger has lost, an agent may still use.
  const others = holders.filter(({ identity, authority }) => authority === id && !known.has(identity));
  return [...recorded, ...others.map(({ identity, workload }) => ({ identity, workload, authority: id, why: "uses a certificate of it" }))];
}
