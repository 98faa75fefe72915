/** The compiler: a snapshot of the mesh -> what each workload enforces, and what became of every object. */
import type { Diagnostic } from "../core/diagnostic.ts";
import { once } from "../core/once.ts";
import { reconcile } from "../mesh/reconcile.ts";
import { derived, fromOutside, History, narrow } from "../mesh/recording.ts";
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
import { acceptedTrustDomains } from "./trust-domains.ts";
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

/** What the mesh's configuration says of every proxy, where it is not the usual. */
function meshWideOf({ meshConfig }: MeshSnapshot, { numTrustedProxies, tellsDenials }: Workload): Partial<WorkloadPolicy> {
  const { pathNormalization, meshMtls } = meshConfig;
  return {
    ...(pathNormalization === DEFAULT_MESH_CONFIG.pathNormalization ? {} : { pathNormalization }),
    ...(numTrustedProxies === 0 ? {} : { numTrustedProxies }),
    ...(tellsDenials ? { tellsDenials: true } : {}),
    // By content: equal parts of two states of the mesh are made one object, whichever of the two it is.
    ...(JSON.stringify(meshMtls) === USUAL_TLS ? {} : { tls: meshMtls }),
  };
}

/** What one workload enforces. */
function compileWorkload(
  snapshot: MeshSnapshot,
  workload: Workload,
  keysOf: JwksLookup,
): { readonly policy: WorkloadPolicy; readonly diagnostics: readonly Diagnostic[] } {
  const { gateway, diagnostics } = compileGateway(snapshot, workload);
  // A gateway has no application of its own.
  const inbound = gateway === undefined ? compileInbound(snapshot, workload) : NO_LISTENERS;
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
    const results = [...snapshot.workloads.values()].map((workload) => this.#workload(now, workload));
    const policies = new Map(results.map(({ policy }) => [policy.workload, policy]));
    const { time } = this.#history;
    // Of a state that is past, nothing was kept.
    const asOfThen = (): MeshSnapshot => (this.#history.time === time ? now : new History().advance(snapshot));
    const judged = once(() => {
      const at = asOfThen();
      const judgements = policyObjects(snapshot).map((policy) => this.#judgement(at, policy));
      const told = distinct([...results.flatMap(({ diagnostics }) => diagnostics), ...checkMesh(at, policies, judgements)]);
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
}

/** Everything. Pure: equal snapshots and keys give equal results. */
export function compileMesh(snapshot: MeshSnapshot, keysOf: JwksLookup = NO_REMOTE_KEYS): CompiledMesh {
  return new MeshCompiler().compile(snapshot, keysOf);
}
