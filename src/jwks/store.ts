/** Fetched keys on disk, so that a restart while an issuer is down refuses nobody. Public keys only. */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type PublicJwk, readJwks } from "../policy/jwks.ts";

export interface StoredKeys {
  readonly keys: readonly PublicJwk[];
  /** Milliseconds since the epoch. */
  readonly fetchedAt: number;
}

export class JwksStore {
  readonly #folder: string;

  /** Makes the folder where there is none. */
  constructor(folder: string) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#folder = folder;
  }

  /** What was kept of a source; undefined where nothing was, or it cannot be read. */
  read(source: string): StoredKeys | undefined {
    try {
      const text = readFileSync(this.#fileOf(source), "utf8");
      const file: unknown = JSON.parse(text);
      if (typeof file !== "object" || file === null || !("source" in file) || file.source !== source) return undefined;
      const fetchedAt = "fetchedAt" in file && typeof file.fetchedAt === "number" ? file.fetchedAt : 0;
      return { keys: readJwks(text).keys, fetchedAt };
    } catch {
      return undefined;
    }
  }

  /** Written whole or not at all. */
  write(source: string, { keys, fetchedAt }: StoredKeys): void {
    const path = this.#fileOf(source);
    writeFileSync(`${path}.new`, `${JSON.stringify({ source, fetchedAt, keys }, null, 2)}\n`, { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }

  remove(source: string): void {
    rmSync(this.#fileOf(source), { force: true });
  }

  #fileOf(source: string): string {
    return join(this.#folder, `${createHash("sha256").update(source).digest("hex")}.json`);
  }
}
