/**
 * The keys that sign JWT-SVIDs: they are no X.509 CA's, change by themselves every 30 days, and are published before they
 * sign and for as long as anything that they signed may be good (SPIFFE JWT-SVID §4, Trust Domain and Bundle §4).
 */
import { createHash, createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { join } from "node:path";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import { generateKey, spkiOf } from "../x509/csr-builder.ts";
import { ensurePrivateFolder, readPrivateFile, replacePrivateFile } from "./state-files.ts";

export interface JwtSvidKey {
  readonly kid: string;
  readonly privateKey: KeyObject;
  /** Milliseconds: from then on it signs, until the next one does. */
  readonly signsFrom: number;
}

const FILE = "jwt-svid-keys.json";
const DAY_MS = 86_400_000;
const SIGNS_FOR_MS = 30 * DAY_MS;
/** Readers of the bundle ask again every few minutes; a day covers those that were away. */
const PUBLISHED_AHEAD_MS = DAY_MS;
/** Longer than any JWT-SVID lives. */
const PUBLISHED_AFTER_MS = DAY_MS;
/** Seconds between two questions for the bundle (`spiffe_refresh_hint`). */
const REFRESH_HINT_SECONDS = 300;

function keyOf(privateKey: KeyObject, signsFrom: number): JwtSvidKey {
  return { kid: createHash("sha256").update(spkiOf(privateKey)).digest("base64url"), privateKey, signsFrom };
}

interface StoredKey {
  readonly signsFrom: number;
  readonly key: string;
}

interface Stored {
  readonly sequence: number;
  readonly keys: readonly StoredKey[];
}

function isStored(value: unknown): value is Stored {
  if (typeof value !== "object" || value === null || !("keys" in value) || !("sequence" in value)) return false;
  const { keys, sequence } = value;
  const isKey = (key: Partial<StoredKey> | null) => typeof key?.signsFrom === "number" && typeof key.key === "string";
  return Number.isSafeInteger(sequence) && Array.isArray(keys) && keys.length > 0 && keys.every(isKey);
}

function parseKeys(path: string, text: string): { readonly sequence: number; readonly keys: readonly JwtSvidKey[] } {
  try {
    const stored: unknown = JSON.parse(text);
    if (isStored(stored)) {
      const keys = stored.keys.map(({ key, signsFrom }) => keyOf(createPrivateKey(key), signsFrom));
      if (keys.every(({ privateKey }) => privateKey.asymmetricKeyDetails?.namedCurve === "prime256v1"))
        return { sequence: stored.sequence, keys: keys.sort((a, b) => a.signsFrom - b.signsFrom) };
    }
  } catch {
    // Told below, without a parser's words about secrets.
  }
  throw new AppError("invalid-configuration", "the file does not hold the keys of JWT-SVIDs", {
    where: path,
    help: "restore it from a backup, or move it away: JWT-SVIDs that were issued so far are refused then",
  });
}

function formatKeys(sequence: number, keys: readonly JwtSvidKey[]): string {
  const stored: Stored = {
    sequence,
    keys: keys.map(({ privateKey, signsFrom }) => ({ signsFrom, key: privateKey.export({ type: "pkcs8", format: "pem" }).toString() })),
  };
  return JSON.stringify(stored);
}

/** What time asks of the keys: a successor a day before the last one's time is over, and none that nobody needs any more. */
function turn(keys: readonly JwtSvidKey[], now: number): readonly JwtSvidKey[] {
  const last = keys.at(-1);
  if (last === undefined) return [keyOf(generateKey(), now)];
  const due = now >= last.signsFrom + SIGNS_FOR_MS - PUBLISHED_AHEAD_MS;
  const all = due ? [...keys, keyOf(generateKey(), now + PUBLISHED_AHEAD_MS)] : keys;
  return all.filter((_, index) => {
    const next = all[index + 1];
    return next === undefined || now < next.signsFrom + PUBLISHED_AFTER_MS;
  });
}

export class JwtSvidKeys {
  readonly #path: string;
  readonly #clock: Clock;
  #keys: readonly JwtSvidKey[] = [];
  #sequence = 0;
  readonly #listeners: (() => void)[] = [];

  /** Opens the keys of a state folder; the first time, makes one. Throws `unsafe-permissions` and `invalid-configuration`. */
  constructor({ stateFolder, clock }: { readonly stateFolder: string; readonly clock: Clock }) {
    ensurePrivateFolder(stateFolder);
    this.#path = join(stateFolder, FILE);
    this.#clock = clock;
    const text = readPrivateFile(this.#path);
    if (text !== undefined) ({ keys: this.#keys, sequence: this.#sequence } = parseKeys(this.#path, text));
    this.#turn();
  }

  /** All of it, private keys and all: for replicas that share it. */
  get stored(): string {
    this.#turn();
    return this.#format();
  }

  /** Calls `listener` when time or a command has brought other keys. */
  onTurn(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /**
   * Takes the keys that another replica has stored, unless its own are newer; of two that turned at a time, the other's: its own successor has not
   * signed yet. Answers whether its own are newer. Throws `invalid-configuration`.
   */
  adopt(stored: string): boolean {
    this.#turn();
    const { keys, sequence } = parseKeys("the replicas' keys of JWT-SVIDs", stored);
    if (sequence < this.#sequence) return true;
    if (stored === this.#format()) return false;
    replacePrivateFile(this.#path, stored);
    [this.#keys, this.#sequence] = [keys, sequence];
    return false;
  }

  /** The key that signs now. */
  get signing(): JwtSvidKey {
    const now = this.#turn();
    const signing = this.#keys.findLast(({ signsFrom }) => signsFrom <= now) ?? this.#keys[0];
    if (signing === undefined) throw new AppError("internal", "there is no key for JWT-SVIDs");
    return signing;
  }

  /** Another key, published now, that signs in a day or when it is activated. Throws `already-exists` while one waits. */
  prepare(): string {
    const now = this.#turn();
    const waiting = this.#keys.find(({ signsFrom }) => signsFrom > now);
    if (waiting !== undefined) throw new AppError("already-exists", `the key ${waiting.kid} is published already`, { help: "activate it" });
    const key = keyOf(generateKey(), now + PUBLISHED_AHEAD_MS);
    this.#put([...this.#keys, key]);
    return key.kid;
  }

  /** Lets the key that waits sign from now on. Throws `not-found` where none does. */
  activate(): string {
    const now = this.#turn();
    const waiting = this.#keys.find(({ signsFrom }) => signsFrom > now);
    if (waiting === undefined) throw new AppError("not-found", "no key of JWT-SVIDs is prepared", { help: "prepare one first" });
    this.#put(this.#keys.map((key) => (key === waiting ? { ...key, signsFrom: now } : key)));
    return waiting.kid;
  }

  /** Publishes the keys that signed before no more: what they signed is refused. Throws `not-found` where there are none. */
  revoke(): string {
    const now = this.#turn();
    const { kid, signsFrom } = this.signing;
    const kept = this.#keys.filter((key) => key.kid === kid || key.signsFrom > Math.max(now, signsFrom));
    if (kept.length === this.#keys.length) throw new AppError("not-found", "no key of JWT-SVIDs signed before the one of now");
    this.#put(kept);
    return kid;
  }

  /** The bundle as a JSON Web Key Set (RFC 7517) with SPIFFE's members. */
  get jwks(): string {
    this.#turn();
    const keys = this.#keys.map(({ kid, privateKey }) => {
      const { kty, crv, x, y } = createPublicKey(privateKey).export({ format: "jwk" });
      return { kty, kid, use: "jwt-svid", alg: "ES256", crv, x, y };
    });
    return JSON.stringify({ spiffe_sequence: this.#sequence, spiffe_refresh_hint: REFRESH_HINT_SECONDS, keys });
  }

  /** On disk before it is used, so that no restart forgets a key that has signed. Returns the time. */
  #turn(): number {
    const now = this.#clock.now();
    const keys = turn(this.#keys, now);
    if (keys.length === this.#keys.length && keys.every((key, index) => key === this.#keys[index])) return now;
    this.#put(keys);
    return now;
  }

  /** On the disk before it is used. */
  #put(keys: readonly JwtSvidKey[]): void {
    const sequence = this.#sequence + 1;
    replacePrivateFile(this.#path, formatKeys(sequence, keys));
    this.#keys = keys;
    this.#sequence = sequence;
    for (const listener of this.#listeners) listener();
  }

  #format(): string {
    return formatKeys(this.#sequence, this.#keys);
  }
}
