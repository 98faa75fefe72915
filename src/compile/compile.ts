/** The compiler: a snapshot of the mesh -> what each workload enforces, and what became of every object. */
import type { Diagnostic } from "../core/diagnostic.ts";
import { mapped } from "../core/map-view.ts";
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
import type { ServerSide, WorkloadPolicy } from "./workload-policy.ts";

/** Everything is found when it is first asked for: no proxy waits for what it is not sent. */
export interface CompiledMesh {
  readonly snapshot: MeshSnapshot;
  /** By `NAMESPACE/NAME` of the workload. One that cannot be compiled throws, and is in the way of no other. */
  readonly policies: ReadonlyMap<string, WorkloadPolicy>;
  /** The policy of a workload where nothing has to be compiled for it. */
  knownPolicy(workload: string): WorkloadPolicy | undefined;
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

interface Compiled<Policy> {
  readonly policy: Policy;
  readonly diagnostics: readonly Diagnostic[];
}

const inboundOf = derived(compileInbound);

/** Apart from what policies say of requests, which changes more often. */
const withoutRules = narrow((snapshot, workload: Workload): Compiled<Omit<WorkloadPolicy, "http" | "tcp">> => {
  const { gateway, diagnostics } = compileGateway(snapshot, workload);
  // A gateway has no application of its own.
  const inbound = gateway === undefined ? inboundOf(snapshot, workload) : NO_LISTENERS;
  const outbound = gateway === undefined ? compileOutbound(snapshot, workload) : NO_LISTENERS;
  const { capture, diagnostics: ofCapture } = compileCapture(snapshot, workload, gateway !== undefined);
  const policy = {
    workload: workload.key,
    address: workload.address,
    ...(workload.secondAddress === undefined ? {} : { secondAddress: workload.secondAddress }),
    identity: workload.identity,
    trustDomains: acceptedTrustDomains(snapshot),
    ...meshWideOf(snapshot, workload),
    inbound: inbound.listeners,
    outbound: outbound.listeners,
    ...(capture === undefined ? {} : { capture }),
    ...(gateway === undefined ? {} : { gateway }),
    ...(snapshot.revoked.certificates.length === 0 ? {} : { revoked: snapshot.revoked.certificates }),
    ...(snapshot.revoked.last === undefined ? {} : { lastRevocation: snapshot.revoked.last }),
  };
  return { policy, diagnostics: [...diagnostics, ...inbound.diagnostics, ...outbound.diagnostics, ...ofCapture] };
});

/** What one workload enforces. */
function compileWorkload(snapshot: MeshSnapshot, workload: Workload, keysOf: JwksLookup): Compiled<WorkloadPolicy> {
  const { policy, diagnostics } = withoutRules(snapshot, workload);
  const requestAuthentication = compileRequestAuthentication(snapshot, workload, keysOf);
  const tokens = requestAuthentication === undefined ? {} : { requestAuthentication };
  return { policy: { ...policy, ...tokens, ...compileAuthorization(snapshot, workload) }, diagnostics };
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
 * Compiles one state of a mesh after another, and only what is different and asked for: a workload's result is kept, the same
 * object, as long as everything that compiling it read is the same (`mesh/recording.ts`). What comes out is what `compileMesh`
 * makes of the last state alone.
 */
export class MeshCompiler {
  readonly #history = new History();
  #snapshot: MeshSnapshot | undefined;
  #keysOf: JwksLookup = NO_REMOTE_KEYS;
  /** Workloads, by key, that were compiled, and whose results are told of when they may be others. */
  readonly #watched = new Map<string, Watched>();
  readonly #workload = derived((snapshot, workload: Workload) =>
    compileWorkload(snapshot, workload, (source) => fromOutside(snapshot, () => this.#keysOf(source))),
  );
  /** Of what a policy is judged by: whom a workload calls, and where that is served, changes more often. */
  readonly #serverSide = derived((snapshot, workload: Workload): ServerSide => {
    const { outbound: _, capture, ...own } = this.#workload(snapshot, workload).policy;
    return { ...own, captured: capture !== undefined };
  });
  readonly #judgement = narrow((snapshot, policy: PolicyObject): Judgement => {
    const selection = selectionOf(snapshot, policy);
    const compiled = new Map(selection.workloads.map((workload) => [workload.key, this.#serverSide(snapshot, workload)]));
    return { selection, status: toStatus(selection), warnings: policyWarnings(snapshot, compiled, selection) };
  });

  /** `keysOf`: the keys of tokens that were fetched by now. */
  compile(next: MeshSnapshot, keysOf: JwksLookup = NO_REMOTE_KEYS): CompiledMesh {
    const snapshot = reconcile(this.#snapshot, next);
    this.#snapshot = snapshot;
    this.#keysOf = keysOf;
    const now = this.#history.advance(snapshot);
    this.#unwatchGone(snapshot.workloads);
    const { time } = this.#history;
    const isPast = (): boolean => this.#history.time !== time;
    // Of a state that is past, nothing was kept.
    const then = once(() => new History().advance(snapshot));
    const policies = mapped(snapshot.workloads, (workload) =>
      isPast() ? this.#workload(then(), workload).policy : this.#policyOf(now, workload),
    );
    const judged = once(() => {
      const at = isPast() ? then() : now;
      const judgements = policyObjects(snapshot).map((policy) => this.#judgement(at, policy));
      const ofWorkloads = [...snapshot.workloads.values()].flatMap((workload) => this.#workload(at, workload).diagnostics);
      const told = distinct([...ofWorkloads, ...checkMesh(at, policies, judgements)]);
      return { statuses: judgements.map(({ status }) => status), diagnostics: told };
    });
    return {
      snapshot,
      policies,
      knownPolicy: (key) => (isPast() ? undefined : this.#watched.get(key)?.policy),
      namesOf: (key) => {
        const workload = snapshot.workloads.get(key);
        return workload && nameTable(isPast() ? then() : now, workload);
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
  #unwatchGone(workloads: MeshSnapshot["workloads"]): void {
    for (const [key, { workload, answer }] of this.#watched) {
      if (workloads.get(key) === workload) continue;
      answer.unwatch(this.#history);
      this.#watched.delete(key);
    }
  }

  /** Looked at only where it may be another. Should it throw, it is compiled again for the next who asks. */
  #policyOf(now: MeshSnapshot, workload: Workload): WorkloadPolicy {
    const watched = this.#watched.get(workload.key);
    if (watched?.policy !== undefined) return watched.policy;
    const { policy } = this.#workload(now, workload);
    if (watched === undefined) this.#watch(workload, policy);
    else watched.policy = policy;
    return policy;
  }

  #watch(workload: Workload, policy: WorkloadPolicy): void {
    const watched: Watched = { workload, policy, answer: this.#history.answerOf(this.#workload, workload) };
    this.#watched.set(workload.key, watched);
    watched.answer.watchedBy(() => {
      watched.policy = undefined;
    }, this.#history);
  }
}

interface Watched {
  readonly workload: Workload;
  readonly answer: Answer;
  /** Undefined where it may be another by now. */
  policy: WorkloadPolicy | undefined;
}

/** Everything. Pure: equal snapshots and keys give equal results. */
export function compileMesh(snapshot: MeshSnapshot, keysOf: JwksLookup = NO_REMOTE_KEYS): CompiledMesh {
  return new MeshCompiler().compile(snapshot, keysOf);
}
