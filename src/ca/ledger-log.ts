/** The ledger and the log at a start: what a crash left of one and not of the other. */
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { Ledger } from "./ledger.ts";
import { decodeEntry, encodeEntry, isNote, type LogEntry } from "./log/entry.ts";
import { MAX_PENDING, type TransparencyLog } from "./log/transparency-log.ts";

const BATCH = 4096;
/** Certificates that may have waited for the disk: those for which there was room, and calls that were under way by then. */
const MAX_BEHIND = 2 * MAX_PENDING;

function publish(entries: readonly LogEntry[], log: TransparencyLog): void {
  for (let at = 0; at < entries.length; at += BATCH) log.appendNow(entries.slice(at, at + BATCH).map(encodeEntry));
}

/**
 * Makes both say the same. Rows that the log lacks were never handed out: they are published. Entries that the ledger lacks went with a power cut, or
 * with the ledger's file: they are put back. Throws `invalid-configuration` when more certificates are missing from the log than can have waited for the
 * disk; notes are as many as an operator revokes at one time.
 */
export function reconcile(ledger: Ledger, log: TransparencyLog, now: number, logger: Logger): void {
  const behind = ledger.nextLeaf - log.size;
  const unpublished = behind > 0 ? ledger.entriesFrom(log.size) : [];
  // Each has its own place: what the ledger has forgotten since, nobody can put there.
  if (unpublished.length < behind || unpublished.filter((entry) => !isNote(entry)).length > MAX_BEHIND) {
    throw new AppError(
      "invalid-configuration",
      `the log has ${log.size} certificates where the ledger has ${ledger.nextLeaf}: it was set back`,
      {
        where: log.folder,
        help: "see what `garrison ca verify-log` says, and restore the log's folder from a backup",
      },
    );
  }
  if (behind > 0) logger.log("warn", "the log lacked what its ledger has: it is added", { from: log.size, entries: behind });
  publish(unpublished, log);
  if (behind >= 0) return;
  const entries = log.reader.entries(ledger.nextLeaf);
  const restored = ledger.restore(entries.map(decodeEntry), now);
  logger.log("warn", "the ledger lacked certificates that its log has: they are put back", { missing: -behind, restored });
}
