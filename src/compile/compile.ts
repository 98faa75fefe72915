/** The compiler: a snapshot of the mesh -> what each workload enforces, and what became of every object. */
import type { Diagnostic } from "../core/diagnostic.ts";
import { reconcile } from "../mesh/reconcile.ts";
import { fromOutside, Kept } from "../mesh/recording.ts";
import type { MeshSnapshot, Workload } from "../mesh/snapshot.ts";
import { DEFAULT_MESH_CONFIG } from "../policy/mesh-config.ts";
import { compileAuthorization } from "./authorization.ts";
import { compileGateway } from "./gateway.ts";
import { compileInbound } from "./inbound.ts";
import { compileOutbound } from "./outbound.ts";
import { compileRequestAuthentication, type JwksLookup, NO_REMOTE_KEYS } from "./request-authentication.ts";
import { checkMesh, type ObjectStatus, policyObjects, selectionOf, toStatus } from "./status.ts";
import { acceptedTrustDomains } from "./trust-domains.ts";
import type { WorkloadPolicy } from "./workload-policy.ts";

export interface CompiledMesh {
  readonly snapshot: MeshSnapshot;
  /** By `NAMESPACE/NAME` of the workload. */
  readonly policies: ReadonlyMap<string, WorkloadPolicy>;
  readonly statuses: readonly ObjectStatus[];
  readonly diagnostics: readonly Diagnostic[];
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
  keysOf: JwksLookup = NO_REMOTE_KEYS,
): { readonly policy: WorkloadPolicy; readonly diagnostics: readonly Diagnostic[] } {
  const { gateway, diagnostics } = compileGateway(snapshot, workload);
  // A gateway has no application of its own.
  const inbound = gateway === undefined ? compileInbound(snapshot, workload) : NO_LISTENERS;
  const outbound = gateway === undefined ? compileOutbound(snapshot, workload) : NO_LISTENERS;
  const requestAuthentication = compileRequestAuthentication(snapshot, workload, keysOf);
  const policy: WorkloadPolicy = {
    workload: workload.key,
    address: workload.address,
    identity: workload.identity,
    trustDomains: acceptedTrustDomains(snapshot),
    ...meshWideOf(snapshot, workload),
    inbound: inbound.listeners,
    outbound: outbound.listeners,
    ...(gateway === undefined ? {} : { gateway }),
    ...(requestAuthentication === undefined ? {} : { requestAuthentication }),
    ...(snapshot.revoked.certificates.length === 0 ? {} : { revoked: snapshot.revoked.certificates }),
    ...compileAuthorization(snapshot, workload),
  };
  return { policy, diagnostics: [...diagnostics, ...inbound.diagnostics, ...outbound.diagnostics] };
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
  #snapshot: MeshSnapshot | undefined;
  #keysOf: JwksLookup = NO_REMOTE_KEYS;
  readonly #workloads = new Kept((snapshot, workload: Workload) =>
    compileWorkload(snapshot, workload, (source) => fromOutside(snapshot, () => this.#keysOf(source))),
  );
  readonly #selections = new Kept(selectionOf);

  /** `keysOf`: the keys of tokens that were fetched by now. */
  compile(next: MeshSnapshot, keysOf: JwksLookup = NO_REMOTE_KEYS): CompiledMesh {
    const snapshot = reconcile(this.#snapshot, next);
    this.#snapshot = snapshot;
    this.#keysOf = keysOf;
    const results = this.#workloads.resultsFor(snapshot.workloads.values(), snapshot);
    const policies = new Map(results.map(({ policy }) => [policy.workload, policy]));
    const selections = this.#selections.resultsFor(policyObjects(snapshot), snapshot);
    const diagnostics = distinct([...results.flatMap((result) => result.diagnostics), ...checkMesh(snapshot, policies, selections)]);
    return { snapshot, policies, statuses: selections.map(toStatus), diagnostics };
  }
}

/** Everything. Pure: equal snapshots and keys give equal results. */
export function compileMesh(snapshot: MeshSnapshot, keysOf: JwksLookup = NO_REMOTE_KEYS): CompiledMesh {
  return new MeshCompiler().compile(snapshot, keysOf);
}
