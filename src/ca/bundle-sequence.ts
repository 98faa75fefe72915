/** The sequence number of this trust domain's bundle: it grows with each change and over restarts (SPIFFE Trust Domain and Bundle §4.1.1). */
import { hash } from "node:crypto";
import { join } from "node:path";
import { AppError } from "../core/error.ts";
import type { TrustBundle } from "../identity/trust-bundle.ts";
import { readPrivateFile, replacePrivateFile } from "./state-files.ts";

interface Stored {
  readonly sequence: number;
  /** Of what the bundle with this number holds. */
  readonly digest: string;
}

const FILE = "trust-bundle.json";
const REFRESH_HINT_SECONDS = 300;

function parseStored(path: string, text: string): Stored {
  try {
    const stored = JSON.parse(text) as Partial<Stored> | null;
    const { sequence, digest } = stored ?? {};
    if (typeof sequence === "number" && Number.isSafeInteger(sequence) && sequence > 0 && typeof digest === "string")
      return { sequence, digest };
  } catch {
    // Told below.
  }
  throw new AppError("invalid-configuration", "the file does not hold the number of the trust bundle", {
    where: path,
    help: "restore it from a backup, or move it away: the numbers then go on far above",
  });
}

/** Of what has one number. */
export function contentDigest({ roots, jwks }: Pick<TrustBundle, "roots" | "jwks">): string {
  return hash("sha256", JSON.stringify([roots, jwks]));
}

export class BundleSequence {
  readonly #path: string;
  readonly #above: number;
  #stored: Stored | undefined;

  /**
   * `above`: what the numbers begin above where the file is not there. Other domains take no number that is below one that they have. Throws
   * `unsafe-permissions` and `invalid-configuration`.
   */
  constructor(stateFolder: string, above = 0) {
    this.#path = join(stateFolder, FILE);
    this.#above = above;
    const text = readPrivateFile(this.#path);
    this.#stored = text === undefined ? undefined : parseStored(this.#path, text);
  }

  /** The bundle of these roots and keys, with the next number where they changed. The number is on the disk when it returns. */
  number(content: Pick<TrustBundle, "roots" | "jwks">): TrustBundle {
    const { roots, jwks } = content;
    const digest = contentDigest(content);
    if (this.#stored?.digest !== digest) {
      const stored = { sequence: (this.#stored?.sequence ?? this.#above) + 1, digest };
      replacePrivateFile(this.#path, JSON.stringify(stored));
      this.#stored = stored;
    }
    return { roots, jwks, sequence: this.#stored.sequence, refreshHintSeconds: REFRESH_HINT_SECONDS };
  }
}
