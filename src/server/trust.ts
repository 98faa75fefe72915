/** What everybody is to trust, on its way to the agents: authority and keys -> source -> streams. */
import type { Authority } from "../ca/authority.ts";
import { BundleSequence } from "../ca/bundle-sequence.ts";
import type { Federation } from "../ca/federation/federation.ts";
import type { MeshRoots } from "../ca/federation/mesh-roots.ts";
import type { JwtSvidKeys } from "../ca/jwt-svid-keys.ts";
import { PushedRevocations } from "../ca/pushed-revocations.ts";
import { TrustService } from "../ca/trust-service.ts";
import { TrustSource } from "../ca/trust-state.ts";
import type { Logger } from "../core/logger.ts";
import { type AdmissionOptions, followerAdmission } from "./admission.ts";
import type { MeshState } from "./mesh-state.ts";

export interface TrustParts {
  readonly folder: string;
  readonly authority: Authority;
  readonly jwtKeys: JwtSvidKeys;
  readonly admission: AdmissionOptions;
  /** Undefined where no other trust domain is trusted. */
  readonly federation: Federation | undefined;
  /** What the mesh's configuration names; it follows the mesh before this does. */
  readonly meshRoots: MeshRoots;
  readonly mesh: MeshState;
  readonly logger: Logger;
}

/** Who goes on to call servers whose certificates are revoked. */
export interface RevocationsTold {
  /** Workloads that have no list of them yet. */
  readonly late: readonly string[];
  /** Why there is no list for anybody's Envoy; empty where there is. */
  readonly unlisted: string;
}

export interface Trust {
  readonly source: TrustSource;
  readonly service: TrustService;
  /**
   * Calls `listener` after a root was withdrawn, when the agents know it or have had the time. Connections verified their clients when they began: those of
   * certificates of that root have to end, or proxies would go on with what they are.
   */
  onWithdrawal(listener: () => void): void;
  /** Resolves when every agent has the lists of what was revoked by now, or after the time. */
  revocationsTold(timeoutMs: number): Promise<RevocationsTold>;
  close(): void;
}

const WITHDRAWAL_MS = 5_000;

/** Throws `unsafe-permissions` and `invalid-configuration` as to the file of the bundle's number. */
export function openTrust({ folder, authority, jwtKeys, admission, federation, meshRoots, mesh, logger }: TrustParts): Trust {
  // A file that was lost: what was given is below the seconds of now, as numbers change far less often.
  const sequence = new BundleSequence(folder, authority.log.isNew ? 0 : Math.floor(admission.clock.now() / 1000));
  const lists = new PushedRevocations({ authority, clock: admission.clock, logger });
  const source = new TrustSource({
    trustDomain: authority.trustDomain,
    own: () => ({ roots: authority.rootsPem, jwks: jwtKeys.jwks }),
    numbered: (content) => sequence.number(content),
    tainted: () => authority.tainted,
    federated: () => federation?.bundles ?? new Map(),
    configured: () => meshRoots.roots,
    revocationLists: () => lists.lists,
    unlisted: () => lists.problem,
    aliases: () => mesh.current.snapshot.meshConfig.trustDomainAliases,
    logger,
  });
  const { revocations } = authority;
  const service = new TrustService({
    current: () => source.current,
    admit: followerAdmission(admission),
    isRevoked: (serial) => revocations.isRevoked(serial),
    clock: admission.clock,
    logger,
  });
  authority.onChange(() => source.refresh());
  revocations.onChange(() => service.publish());
  federation?.onChange(() => source.refresh());
  meshRoots.onChange(() => source.refresh());
  lists.onChange(() => source.refresh());
  mesh.onChange(() => source.refresh());
  source.onChange(() => service.publish());
  const onWithdrawal = (listener: () => void): void => {
    let before = source.current.roots;
    source.onChange(() => {
      const { current } = source;
      const withdrawn = !before.isSubsetOf(current.roots);
      before = current.roots;
      if (withdrawn) void service.whenever(() => service.followers.every(({ holds }) => holds === current), WITHDRAWAL_MS).then(listener);
    });
  };
  const revocationsTold = async (timeoutMs: number): Promise<RevocationsTold> => {
    await lists.settled();
    const { unlisted } = source;
    const { revocationLists } = source.current;
    if (revocationLists === "") return { late: [], unlisted };
    const late = () => service.followers.filter(({ holds }) => holds?.revocationLists !== revocationLists);
    await service.whenever(() => late().length === 0, timeoutMs);
    return { late: late().map(({ workload }) => workload), unlisted };
  };
  const close = () => {
    lists.close();
    source.close();
    service.close();
  };
  return { source, service, onWithdrawal, revocationsTold, close };
}
