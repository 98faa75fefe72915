/** Public keys that signed service-account tokens before the one of now, each for as long as a token of it may be good. */
import { createHash, createPublicKey, type KeyObject } from "node:crypto";
import { join } from "node:path";
import { AppError } from "../core/error.ts";
import { readPrivateFile, replacePrivateFile } from "./state-files.ts";

export interface FormerTokenKey {
  readonly keyId: string;
  readonly publicKey: KeyObject;
  /** Milliseconds: nothing that it signed is good from then on. */
  readonly until: number;
}

interface Stored {
  readonly key: string;
  readonly until: number;
}

const FILE = "former-token-keys.json";

/** The `kid` of a key: the digest of its SubjectPublicKeyInfo. */
export function tokenKeyId(publicKey: KeyObject): string {
  return createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("base64url");
}

function isStored(value: unknown): value is readonly Stored[] {
  const isKey = (each: Partial<Stored> | null) => typeof each?.key === "string" && Number.isSafeInteger(each.until);
  return Array.isArray(value) && value.every(isKey);
}

function parseKeys(path: string, text: string): readonly FormerTokenKey[] {
  try {
    const stored: unknown = JSON.parse(text);
    if (isStored(stored)) {
      return stored.map(({ key, until }) => {
        const publicKey = createPublicKey(key);
        return { keyId: tokenKeyId(publicKey), publicKey, until };
      });
    }
  } catch {
    // Told below.
  }
  throw new AppError("invalid-configuration", "the file does not hold the former keys of tokens", {
    where: path,
    help: "restore it from a backup, or move it away: tokens of former keys are refused then",
  });
}

export class FormerTokenKeys {
  readonly #path: string;
  #keys: readonly FormerTokenKey[];

  /** Throws `unsafe-permissions` and `invalid-configuration`. */
  constructor(stateFolder: string) {
    this.#path = join(stateFolder, FILE);
    const text = readPrivateFile(this.#path);
    this.#keys = text === undefined ? [] : parseKeys(this.#path, text);
  }

  /** The key of this identifier, if it counts at `now`. */
  find(keyId: string | undefined, now: number): FormerTokenKey | undefined {
    return this.#keys.find((key) => key.keyId === keyId && now < key.until);
  }

  /** On the disk when it returns; those whose time is over are forgotten. */
  add(publicKey: KeyObject, until: number, now: number): void {
    this.#put([...this.#keys.filter((key) => now < key.until), { keyId: tokenKeyId(publicKey), publicKey, until }]);
  }

  /** None counts any more; how many did. */
  clear(now: number): number {
    const counted = this.#keys.filter((key) => now < key.until).length;
    this.#put([]);
    return counted;
  }

  #put(keys: readonly FormerTokenKey[]): void {
    const stored: readonly Stored[] = keys.map(({ publicKey, until }) => ({
      key: publicKey.export({ type: "spki", format: "pem" }).toString(),
      until,
    }));
    replacePrivateFile(this.#path, JSON.stringify(stored));
    this.#keys = keys;
  }
}
