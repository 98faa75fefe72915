/** The compiler: a snapshot of the mesh -> what each workload enforces, and what became of every object. */
import type { Diagnostic } from "../core/diagnostic.ts";
import { once } from "../core/once.ts";
import { reconcile } from "../mesh/reconcile.ts";
import { type Answer, derived, fromOutside, History, narrow } from "../mesh/recording.ts";
import type { MeshSnapshot, Workload } from "../mesh/snapshot.ts";
import { DEFAULT_MESH_CONFIG } from "../policy/mesh-config.ts";
import { compileAuthorization } from "./authorization.ts";
import { compileCapture } from "./capture/capture.ts";
import { checkCustom } from "./custom-status.ts";
import { compileGateway } from "./gateway.ts";
import { checkGateways } from "./gateway-status.ts";
import { compileInbound } from "./inbound.ts";
import { type NameTable, nameTable } from "./names.ts";
import { compileOutbound } from "./outbound.ts";
import { checkServices } from "./outbound-status.ts";
import { compileRequestAuthentication, type JwksLookup, NO_REMOTE_KEYS } from "./request-authentication.ts";
import {
  checkListeners,
  checkSelections,
  type ObjectStatus,
  type PolicyObject,
  policyObjects,
  type Selection,
  selectionOf,
  toStatus,
} from "./status.ts";
import { acceptedTrustDomains, foreignTrustDomains } from "./trust-domains.ts";
import { policyWarnings, warningsAmong } from "./warnings/warnings.ts";
import type { WorkloadPolicy } from "./workload-policy.ts";

/** Statuses and diagnostics are found when they are first asked for: proxies need not wait for them. */
export interface CompiledMesh {
  readonly snapshot: MeshSnapshot;
  /** By `NAMESPACE/NAME` of the workload. */
  readonly policies: ReadonlyMap<string, WorkloadPolicy>;
  readonly statuses: readonly ObjectStatus[];
  readonly diagnostics: readonly Diagnostic[];
  /** What the agent of a workload (`NAMESPACE/NAME`) answers to questions of DNS; found when it is asked for. Undefined for no workload. */
  namesOf(workload: string): NameTable | undefined;
}

const NO_LISTENERS = { listeners: [], diagnostics: [] } as const;
const USUAL_TLS = JSON.stringify(DEFAULT_MESH_CONFIG.meshMtls);

/** By content: equal parts of two states of the mesh are made one object, whichever of the two it is. */
const isUsualTls = narrow(({ meshConfig }): boolean => JSON.stringify(meshConfig.meshMtls) === USUAL_TLS);

/** What the mesh's configuration says of every proxy, where it is not the usual. */
function meshWideOf(snapshot: MeshSnapshot, { numTrustedProxies, tellsDenials }: Workload): Partial<WorkloadPolicy> {
  const { pathNormalization, meshMtls } = snapshot.meshConfig;
  const foreign = foreignTrustDomains(snapshot);
  return {
    ...(foreign.length === 0 ? {} : { foreignTrustDomains: foreign }),
    ...(pathNormalization === DEFAULT_MESH_CONFIG.pathNormalization ? {} : { pathNormalization }),
    ...(numTrustedProxies === 0 ? {} : { numTrustedProxies }),
    ...(tellsDenials ? { tellsDenials: true } : {}),
    ...(isUsualTls(snapshot) ? {} : { tls: meshMtls }),
  };
}

/** Apart from what policies say, which changes more often. */
const inboundOf = derived(compileInbound);

/** What one workload enforces. */
function compileWorkload(
  snapshot: MeshSnapshot,
  workload: Workload,
  keysOf: JwksLookup,
): { readonly policy: WorkloadPolicy; readonly diagnostics: readonly Diagnostic[] } {
  const { gateway, diagnostics } = compileGateway(snapshot, workload);
  // A gateway has no application of its own.
  const inbound = gateway === undefined ? inboundOf(snapshot, workload) : NO_LISTENERS;
  const outbound = gateway === undefined ? compileOutbound(snapshot, workload) : NO_LISTENERS;
  const { capture, diagnostics: ofCapture } = compileCapture(snapshot, workload, gateway !== undefined);
  const requestAuthentication = compileRequestAuthentication(snapshot, workload, keysOf);
  const policy: WorkloadPolicy = {
    workload: workload.key,
    address: workload.address,
    identity: workload.identity,
    trustDomains: acceptedTrustDomains(snapshot),
    ...meshWideOf(snapshot, workload),
    inbound: inbound.listeners,
    outbound: outbound.listeners,
    ...(capture === undefined ? {} : { capture }),
    ...(gateway === undefined ? {} : { gateway }),
    ...(requestAuthentication === undefined ? {} : { requestAuthentication }),
    ...(snapshot.revoked.certificates.length === 0 ? {} : { revoked: snapshot.revoked.certificates }),
    ...(snapshot.revoked.last === undefined ? {} : { lastRevocation: snapshot.revoked.last }),
    ...compileAuthorization(snapshot, workload),
  };
  return { policy, diagnostics: [...diagnostics, ...inbound.diagnostics, ...outbound.diagnostics, ...ofCapture] };
}

/** What comes of one policy. */
interface Judgement {
  readonly selection: Selection;
  readonly status: ObjectStatus;
  readonly warnings: readonly Diagnostic[];
}

/** What a reader should know of a mesh that compiles. */
function checkMesh(
  snapshot: MeshSnapshot,
  compiled: ReadonlyMap<string, WorkloadPolicy>,
  judgements: readonly Judgement[],
): readonly Diagnostic[] {
  const selections = judgements.map(({ selection }) => selection);
  return [
    ...checkServices(snapshot),
    ...checkSelections(snapshot, selections),
    ...warningsAmong(selections),
    ...judgements.flatMap(({ warnings }) => warnings),
    ...checkListeners(snapshot, compiled),
    ...checkCustom(snapshot, compiled),
    ...checkGateways(snapshot),
  ];
}

/** Each once: what several workloads meet in one object is told there, not at each of them. */
function distinct(diagnostics: readonly Diagnostic[]): readonly Diagnostic[] {
  const keyOf = ({ code, message, place }: Diagnostic) => `${code} ${place.file}:${place.line}:${place.column} ${message}`;
  return [...new Map(diagnostics.map((diagnostic) => [keyOf(diagnostic), diagnostic])).values()];
}

/**
 * Compiles one state of a mesh after another, and only what is different: a workload's result is kept, the same object, as
 * long as everything that compiling it read is the same (`mesh/recording.ts`). What comes out is what `compileMesh` makes of
 * the last state alone.
 */
export class MeshCompiler {
  readonly #history = new History();
  #snapshot: MeshSnapshot | undefined;
  #keysOf: JwksLookup = NO_REMOTE_KEYS;
  /** Workloads, by key, whose results are told of when they may be others; and those that were told, or are new. */
  readonly #watched = new Map<string, Watched>();
  readonly #stale = new Set<string>();
  #workloads: MeshSnapshot["workloads"] | undefined;
  #policies: ReadonlyMap<string, WorkloadPolicy> = new Map();
  readonly #workload = derived((snapshot, workload: Workload) =>
    compileWorkload(snapshot, workload, (source) => fromOutside(snapshot, () => this.#keysOf(source))),
  );
  readonly #judgement = narrow((snapshot, policy: PolicyObject): Judgement => {
    const selection = selectionOf(snapshot, policy);
    const compiled = new Map(selection.workloads.map((workload) => [workload.key, this.#workload(snapshot, workload).policy]));
    return { selection, status: toStatus(selection), warnings: policyWarnings(snapshot, compiled, selection) };
  });

  /** `keysOf`: the keys of tokens that were fetched by now. */
  compile(next: MeshSnapshot, keysOf: JwksLookup = NO_REMOTE_KEYS): CompiledMesh {
    const snapshot = reconcile(this.#snapshot, next);
    this.#snapshot = snapshot;
    this.#keysOf = keysOf;
    const now = this.#history.advance(snapshot);
    this.#watchAll(snapshot.workloads);
    const policies = this.#compileStale(now, snapshot.workloads);
    const { time } = this.#history;
    // Of a state that is past, nothing was kept.
    const asOfThen = (): MeshSnapshot => (this.#history.time === time ? now : new History().advance(snapshot));
    const judged = once(() => {
      const at = asOfThen();
      const judgements = policyObjects(snapshot).map((policy) => this.#judgement(at, policy));
      const ofWorkloads = [...snapshot.workloads.values()].flatMap((workload) => this.#workload(at, workload).diagnostics);
      const told = distinct([...ofWorkloads, ...checkMesh(at, policies, judgements)]);
      return { statuses: judgements.map(({ status }) => status), diagnostics: told };
    });
    return {
      snapshot,
      policies,
      namesOf: (key) => {
        const workload = snapshot.workloads.get(key);
        return workload && nameTable(asOfThen(), workload);
      },
      get statuses() {
        return judged().statuses;
      },
      get diagnostics() {
        return judged().diagnostics;
      },
    };
  }

  /** What is of a workload that is gone, or is another object now, is watched no longer. */
  #watchAll(workloads: MeshSnapshot["workloads"]): void {
    for (const [key, { workload, answer }] of this.#watched) {
      if (workloads.get(key) === workload) continue;
      answer.unwatch(this.#history);
      this.#watched.delete(key);
    }
    for (const key of workloads.keys()) if (!this.#watched.has(key)) this.#stale.add(key);
  }

  /** The policies of all workloads, of which only those are looked at that may be others. Should one throw, all that were to be looked at are so the next time. */
  #compileStale(now: MeshSnapshot, workloads: MeshSnapshot["workloads"]): ReadonlyMap<string, WorkloadPolicy> {
    const changed = new Map<string, WorkloadPolicy>();
    for (const key of this.#stale) {
      const workload = workloads.get(key);
      if (workload === undefined) continue;
      const { policy } = this.#workload(now, workload);
      if (policy !== this.#policies.get(key)) changed.set(key, policy);
      this.#watch(key, workload);
    }
    this.#stale.clear();
    this.#policies = this.#replaced(changed, workloads);
    this.#workloads = workloads;
    return this.#policies;
  }

  /** In the order of the workloads; the same map where nothing has changed. */
  #replaced(changed: ReadonlyMap<string, WorkloadPolicy>, workloads: MeshSnapshot["workloads"]): ReadonlyMap<string, WorkloadPolicy> {
    const before = this.#policies;
    if (workloads !== this.#workloads) {
      const policies = [...workloads.keys()].map((key) => [key, changed.get(key) ?? before.get(key)] as const);
      return new Map(policies.filter((entry): entry is readonly [string, WorkloadPolicy] => entry[1] !== undefined));
    }
    if (changed.size === 0) return before;
    const policies = new Map(before);
    for (const [key, policy] of changed) policies.set(key, policy);
    return policies;
  }

  #watch(key: string, workload: Workload): void {
    if (this.#watched.has(key)) return;
    const answer = this.#history.answerOf(this.#workload, workload);
    answer.watchedBy(() => this.#stale.add(key), this.#history);
    this.#watched.set(key, { workload, answer });
  }
}

interface Watched {
  readonly workload: Workload;
  readonly answer: Answer;
}

/** Everything. Pure: equal snapshots and keys give equal results. */
export function compileMesh(snapshot: MeshSnapshot, keysOf: JwksLookup = NO_REMOTE_KEYS): CompiledMesh {
  return new MeshCompiler().compile(snapshot, keysOf);
}
