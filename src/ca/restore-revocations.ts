/** What the log says to be revoked and the record of revocations does not know: the record was lost, or set back to a backup. */
import type { Logger } from "../core/logger.ts";
import { WORKLOAD_MAX_LIFE_MS } from "./issue-checks.ts";
import type { Ledger } from "./ledger.ts";
import type { BlockNote, RevokedNote } from "./log/entry.ts";
import type { Block, Revocations, RevokedRecord } from "./revocations.ts";

/** A verifier whose clock is behind takes a certificate for a while after it has expired here. */
const CLOCKS_DIFFER_MS = 3_600_000;

/** Another replica's certificate is not in this ledger; it lives no longer than any. */
function recordOf({ serial, identity, sha256, at, reason }: RevokedNote, ledger: Ledger): RevokedRecord {
  const notAfter = ledger.find(serial)?.notAfter ?? at + WORKLOAD_MAX_LIFE_MS;
  return { serial, identity, sha256, notAfter, revokedAt: at, reason: reason as RevokedRecord["reason"] };
}

function blockOf({ kind, value, at, reason }: BlockNote): Block {
  return { kind, value, since: at, reason: reason as Block["reason"] };
}

/**
 * Puts back what has not expired at `now` (milliseconds), with its times and reasons: a certificate is never un-revoked, and an identity is
 * free again only where that was asked for. Throws `unavailable` where it cannot be written.
 */
export function restoreRevocations(ledger: Ledger, revocations: Revocations, now: number, logger: Logger): void {
  const since = now - CLOCKS_DIFFER_MS;
  const certificates = [...ledger.notes.revoked.values()]
    .filter(({ serial, at }) => at + WORKLOAD_MAX_LIFE_MS >= since && !revocations.isRevoked(serial))
    .map((note) => recordOf(note, ledger))
    .filter(({ notAfter }) => notAfter >= since);
  const known = new Set(revocations.blocks.map(({ kind, value }) => `${kind} ${value}`));
  const blocks = ledger.notes.blocked
    .filter(({ kind, value }) => !known.has(`${kind} ${value}`) && !(kind === "identity" && revocations.wasFreed(value)))
    .map(blockOf);
  if (certificates.length === 0 && blocks.length === 0) return;
  // Later than any number that was given: one at most for each second until now.
  revocations.skipListNumbers(Math.floor(now / 1000));
  revocations.adopt(certificates, blocks, now);
  logger.log("warn", "the record of revocations lacked what its log has: it is put back", {
    certificates: certificates.length,
    blocks: blocks.length,
  });
}
