/**
 * What is not a certificate's issuance comes into the log by looking at what there is and what the log has: revocations when they are made, rows of JWT-SVIDs
 * once a minute. So a crash between the one and the other, or a revocation file that was changed offline, leaves nothing out.
 */
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { JwtSvidRecord } from "./jwt-svid-record.ts";
import type { Ledger } from "./ledger.ts";
import type { Note } from "./log/entry.ts";
import type { Revocations } from "./revocations.ts";

export interface LedgerFollowOptions {
  readonly ledger: Ledger;
  readonly revocations: Revocations;
  readonly jwtSvids: JwtSvidRecord;
  readonly clock: Clock;
  readonly logger: Logger;
}

const SEAL_EVERY_MS = 60_000;

/** What was revoked, blocked and given free, and is not in the log yet. */
function missingNotes({ notes }: Ledger, revocations: Revocations, now: number): readonly Note[] {
  const revoked = revocations
    .certificates(now)
    .filter(({ serial }) => !notes.revoked.has(serial))
    .map(({ serial, identity, sha256, revokedAt, reason }): Note => ({ type: "revoked", serial, identity, sha256, at: revokedAt, reason }));
  const blocks = revocations.blocks;
  const blocked = blocks
    .filter(({ kind, value }) => !notes.isBlocked(kind, value))
    .map(({ kind, value, since, reason }): Note => ({ type: "blocked", kind, value, at: since, reason }));
  const still = new Set(blocks.map(({ kind, value }) => `${kind} ${value}`));
  const free = notes.blocked
    .filter(({ kind, value }) => !still.has(`${kind} ${value}`))
    .map(({ kind, value }): Note => ({ type: "unblocked", kind, value, at: now, reason: "" }));
  return [...revoked, ...blocked, ...free];
}

/** Follows until the answer is called, and once more then. What cannot be written is told, and tried again with the next change or minute. */
export function followIntoLog({ ledger, revocations, jwtSvids, clock, logger }: LedgerFollowOptions): () => void {
  const quietly = (write: () => void): void => {
    try {
      write();
    } catch (thrown) {
      logger.log("error", "the log of the CA lacks what was revoked, or JWT-SVIDs, until it can be written", {
        reason: AppError.from(thrown).message,
      });
    }
  };
  const noteRevocations = (): void =>
    quietly(() => {
      for (const note of missingNotes(ledger, revocations, clock.now())) ledger.note(note);
    });
  const seal = (): void =>
    quietly(() => {
      const sealed = jwtSvids.seal(ledger.notes.lastJwtSvid + 1);
      if (sealed !== undefined) ledger.note({ type: "jwt-svids", ...sealed, at: clock.now() });
    });
  const look = (): void => {
    noteRevocations();
    seal();
  };
  jwtSvids.continueAfter(ledger.notes.lastJwtSvid);
  look();
  revocations.onChange(noteRevocations);
  const timer = setInterval(look, SEAL_EVERY_MS).unref();
  return () => {
    clearInterval(timer);
    look();
  };
}
