/** The intermediates of former issuers, known for as long as they are valid, over restarts too: leaves that they signed live on, and a connection tells only of the leaf. */
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { type Certificate, parseCertificates } from "../x509/certificate.ts";
import { formatPem } from "../x509/pem.ts";
import { areAmong } from "./signing-set.ts";
import { readPrivateFile, replacePrivateFile } from "./state-files.ts";

/** A CA that is asked for each certificate could answer with another one each time. */
const MAX_KNOWN = 64;

function read(path: string): readonly Certificate[] {
  const text = readPrivateFile(path);
  if (text === undefined) return [];
  try {
    return parseCertificates(text);
  } catch (cause) {
    throw new AppError("invalid-configuration", "the file does not hold the intermediates of former issuers", {
      where: path,
      help: "restore it from a backup, or move it away: certificates of former issuers are then refused by the control plane",
      cause,
    });
  }
}

export class KnownIntermediates {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #all: readonly Certificate[];

  /** Opens the file, or starts with none. Throws `unsafe-permissions` and `invalid-configuration`. */
  constructor(path: string, clock: Clock, logger: Logger) {
    this.#path = path;
    this.#clock = clock;
    this.#logger = logger;
    this.#all = read(path);
  }

  /** The oldest first. */
  get all(): readonly Certificate[] {
    return this.#all;
  }

  /** Knows these too from now on. A file that cannot be written is told of in the log: what is in memory counts. */
  add(intermediates: readonly Certificate[]): void {
    if (areAmong(intermediates, this.#all)) return;
    const former = this.#all.filter((certificate) => certificate.notAfter > this.#clock.now() && !areAmong([certificate], intermediates));
    this.#all = [...former, ...intermediates].slice(-MAX_KNOWN);
    try {
      replacePrivateFile(this.#path, this.#all.map(({ der }) => formatPem("CERTIFICATE", der)).join(""));
    } catch (thrown) {
      this.#logger.log("error", "the intermediates cannot be written: a restart forgets them", { reason: AppError.from(thrown).message });
    }
  }
}
