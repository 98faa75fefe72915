/** Revocation as an operator does it: recorded, told to every proxy, and answered when they have it. */
import type { Authority } from "../ca/authority.ts";
import {
  type CertificatesOf,
  certificatesNamed,
  checkIdentity,
  checkNoAuthority,
  decodeRevocation,
  type IssuedElsewhere,
  type RevocationRequest,
  type RevocationResult,
  revoke,
} from "../ca/revoke.ts";
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/logger.ts";
import type { AdsService } from "../xds/service.ts";
import { parseProxyView } from "./publisher.ts";
import type { Trust } from "./trust.ts";

/** What `garrison ca revoke` shows. */
export interface RevocationAnswer extends RevocationResult {
  readonly proxies: {
    readonly connected: number;
    /** Proxies that run it. */
    readonly acknowledged: number;
    /** The others. */
    readonly waiting: readonly string[];
  };
  /** Why Envoys go on to call servers that prove themselves by what was revoked; empty where they do not. */
  readonly unlisted: string;
  /** Other replicas that could not be asked, with the reason: what they issued they revoke themselves once they know. */
  readonly unasked: readonly string[];
  /** Until the last of them had it. */
  readonly tookMs: number;
}

export interface RevocationOptions {
  readonly authority: Authority;
  /** SPIFFE IDs of the service accounts that there are. */
  readonly accounts: () => ReadonlySet<string>;
  /** Asks the other replicas what they issued. */
  readonly elsewhere: (of: CertificatesOf) => Promise<IssuedElsewhere>;
  readonly ads: Pick<AdsService, "connections" | "whenAcked">;
  readonly trust: Pick<Trust, "revocationsTold">;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Milliseconds to wait for proxies. */
  readonly waitMs?: number;
}

const DEFAULT_WAIT_MS = 5_000;

/** Nobody is asked for the one certificate that this replica issued itself. */
async function othersIssued({ authority, elsewhere }: RevocationOptions, request: RevocationRequest): Promise<IssuedElsewhere> {
  const of = certificatesNamed(request, authority.trustDomain);
  if ("serial" in of && authority.ledger.find(of.serial) !== undefined) return { certificates: [], unasked: [] };
  return elsewhere(of);
}

/** The route `POST /v1/ca/revoke`. The proxies were told when `revoke` returned: whatever publishes listens to the revocations. */
export function revocationRoute(options: RevocationOptions) {
  const { authority, accounts, ads, trust, clock, logger, waitMs = DEFAULT_WAIT_MS } = options;
  return async ({ body }: { readonly body: unknown }): Promise<RevocationAnswer> => {
    const request = decodeRevocation(body);
    const began = performance.now();
    const issued = await othersIssued(options, request);
    if (request.kind === "identity" && request.force !== true) checkIdentity(authority, request.value, accounts(), issued);
    if (request.kind === "key") checkNoAuthority(authority, request.value);
    const result = revoke(authority, request, clock.now(), issued);
    const { kind, value, reason } = request;
    logger.log("warn", "revoked", { kind, value, reason, certificates: result.revoked.length });
    const keys = [...new Set(ads.connections().map(({ key }) => key))];
    const states = await Promise.all(keys.map(async (key) => ({ key, state: await ads.whenAcked(key, waitMs) })));
    const told = await trust.revocationsTold(waitMs);
    const late = new Set(told.late);
    const waiting = states.flatMap(({ key, state }) => {
      if (state === "pending" || state === "rejected") return [`${key} (${state})`];
      return late.has(parseProxyView(key).workload) ? [`${key} (calls its server all the same)`] : [];
    });
    const proxies = { connected: keys.length, acknowledged: keys.length - waiting.length, waiting };
    // Servers of a revoked identity are no endpoints any more, list or not.
    const unlisted = result.revoked.length === 0 || kind === "identity" ? "" : told.unlisted;
    return { ...result, proxies, unlisted, unasked: issued.unasked, tookMs: Math.round(performance.now() - began) };
  };
}
