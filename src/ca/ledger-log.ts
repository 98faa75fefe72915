/** The ledger and the log at a start: what a crash left of one and not of the other. */
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { Ledger } from "./ledger.ts";
import { decodeEntry, encodeEntry } from "./log/entry.ts";
import { MAX_PENDING, type TransparencyLog } from "./log/transparency-log.ts";

const BATCH = 4096;

function publishRest(ledger: Ledger, log: TransparencyLog): void {
  let batch: Uint8Array[] = [];
  const publish = (): void => {
    log.appendNow(batch);
    batch = [];
  };
  for (const entry of ledger.entriesFrom(log.size)) {
    batch.push(encodeEntry(entry));
    if (batch.length === BATCH) publish();
  }
  publish();
}

/**
 * Makes both say the same. Rows that the log lacks were never handed out: they are published. Entries that the ledger lacks went with a power cut, or
 * with the ledger's file: they are put back. Throws `invalid-configuration` when more is missing from the log than can have waited for the disk.
 */
export function reconcile(ledger: Ledger, log: TransparencyLog, now: number, logger: Logger): void {
  const behind = ledger.nextLeaf - log.size;
  if (behind > MAX_PENDING) {
    throw new AppError(
      "invalid-configuration",
      `the log has ${log.size} certificates where the ledger has ${ledger.nextLeaf}: it was set back`,
      {
        where: log.folder,
        help: "see what `garrison ca verify-log` says, and restore the log's folder from a backup",
      },
    );
  }
  if (behind > 0) publishRest(ledger, log);
  if (behind >= 0) return;
  const entries = log.reader.entries(ledger.nextLeaf);
  const restored = ledger.restore(entries.map(decodeEntry), now);
  logger.log("warn", "the ledger lacked certificates that its log has: they are put back", { missing: -behind, restored });
}
