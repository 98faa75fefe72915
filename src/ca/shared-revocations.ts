/** What several replicas of a CA have revoked, as one document that each adds to: what one revokes is revoked at all. */
import { AppError } from "../core/error.ts";
import { REVOCATION_REASONS } from "../x509/revocation-list.ts";
import type { Authority } from "./authority.ts";
import type { Block, RevokedRecord } from "./revocations.ts";
import { revoke } from "./revoke.ts";

/** A block, or the word that there is none any more. */
interface SharedBlock extends Block {
  /** Milliseconds: since then it is free. */
  readonly freed?: number;
}

/** What one replica takes out as expired another would put back for as long. */
const CLOCKS_DIFFER_MS = 3_600_000;

interface Document {
  readonly certificates: readonly RevokedRecord[];
  readonly blocks: readonly SharedBlock[];
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function isReason(value: unknown): boolean {
  return typeof value === "string" && Object.hasOwn(REVOCATION_REASONS, value);
}

function isRecord(value: unknown): value is RevokedRecord {
  if (!isObject(value) || !isReason(value.reason)) return false;
  const texts = [value.serial, value.identity, value.sha256].every((text) => typeof text === "string");
  return texts && Number.isSafeInteger(value.notAfter) && Number.isSafeInteger(value.revokedAt);
}

function isBlock(value: unknown): value is SharedBlock {
  if (!isObject(value) || !isReason(value.reason) || typeof value.value !== "string") return false;
  return (
    (value.kind === "identity" || value.kind === "key") &&
    Number.isSafeInteger(value.since) &&
    ["undefined", "number"].includes(typeof value.freed)
  );
}

function parse(text: string): Document {
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) {
      const { certificates, blocks } = value;
      if (Array.isArray(certificates) && Array.isArray(blocks) && certificates.every(isRecord) && blocks.every(isBlock))
        return { certificates, blocks };
    }
  } catch {
    // Told below.
  }
  throw new AppError("invalid-configuration", "what replicas share of revocations cannot be read", {
    help: "restore it from a backup: without it revoked certificates may be taken again",
  });
}

function nameOf({ kind, value }: Pick<Block, "kind" | "value">): string {
  return `${kind} ${value}`;
}

/** The word that was said last. */
function later(left: SharedBlock | undefined, right: SharedBlock): SharedBlock {
  if (left === undefined) return right;
  return Math.max(right.since, right.freed ?? 0) > Math.max(left.since, left.freed ?? 0) ? right : left;
}

export class SharedRevocations {
  readonly #authority: Authority;
  readonly #now: () => number;
  /** What this replica knew to be blocked when it looked last, and what was set free since. */
  #blocks: ReadonlyMap<string, Block>;
  readonly #freed = new Map<string, SharedBlock>();

  /** `now` in milliseconds. */
  constructor(authority: Authority, now: () => number) {
    this.#authority = authority;
    this.#now = now;
    this.#blocks = this.#current();
    authority.revocations.onChange(() => this.#look());
  }

  /** What this replica would have the document be, of nobody else's. */
  get text(): string {
    return JSON.stringify(this.#merge({ certificates: [], blocks: [] }));
  }

  /** Takes what others revoked and set free. What an identity or a key got from this very replica is then revoked too. Throws `invalid-configuration`. */
  take(text: string): void {
    const { certificates, blocks } = parse(text);
    const now = this.#now();
    const { revocations } = this.#authority;
    const valid = blocks.filter((block) => block.freed === undefined && later(this.#freed.get(nameOf(block)), block) === block);
    const added = valid.filter((block) => !this.#blocks.has(nameOf(block)));
    revocations.adopt(
      certificates.filter(({ notAfter }) => notAfter >= now),
      valid,
      now,
    );
    for (const block of added) revoke(this.#authority, block, now);
    for (const block of blocks) {
      const own = this.#blocks.get(nameOf(block));
      if (block.freed === undefined || own === undefined || own.since > block.freed || block.kind !== "identity") continue;
      this.#freed.set(nameOf(block), block);
      revocations.unblock(block.value);
    }
  }

  /** The document with what this replica knows; undefined where it says all of it. Throws `invalid-configuration`. */
  wanted(text: string): string | undefined {
    const before = parse(text);
    const merged = JSON.stringify(this.#merge(before));
    return merged === JSON.stringify(before) ? undefined : merged;
  }

  #merge({ certificates, blocks }: Document): Document {
    const now = this.#now();
    const { revocations } = this.#authority;
    const records = new Map([...revocations.certificates(now), ...certificates].map((record) => [record.serial, record]));
    const all = new Map<string, SharedBlock>();
    for (const block of [...blocks, ...this.#current().values(), ...this.#freed.values()])
      all.set(nameOf(block), later(all.get(nameOf(block)), block));
    const known = new Set(certificates.map(({ serial }) => serial));
    return {
      // In the document's own order, what has long expired left out: by the clock of a replica that is behind it may be good still.
      certificates: [...certificates, ...[...records.values()].filter(({ serial }) => !known.has(serial))].filter(
        ({ notAfter }) => notAfter >= now - CLOCKS_DIFFER_MS,
      ),
      blocks: [...all.values()],
    };
  }

  #current(): ReadonlyMap<string, Block> {
    return new Map(this.#authority.revocations.blocks.map((block) => [nameOf(block), block]));
  }

  #look(): void {
    const now = this.#current();
    for (const [name, block] of this.#blocks) {
      if (!now.has(name) && !this.#freed.has(name)) this.#freed.set(name, { ...block, freed: this.#now() });
    }
    for (const [name, { since }] of now) if (since > (this.#freed.get(name)?.freed ?? Number.POSITIVE_INFINITY)) this.#freed.delete(name);
    this.#blocks = now;
  }
}
