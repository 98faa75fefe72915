/**
 * The tamper-evident record of what was issued: a Merkle tree in files that others' tools read (C2SP tlog-tiles), with a signed
 * checkpoint of every size that was ever answered from.
 *
 * Entries are published in batches: their tiles are on the disk before the checkpoint that covers them, and the checkpoint before
 * `published()` resolves. What a crash leaves beyond the checkpoint is written again, with the same bytes, from the ledger.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { AppError } from "../../core/error.ts";
import type { TrustDomain } from "../../identity/trust-domain.ts";
import { readPrivateFile, writePrivateFile } from "../state-files.ts";
import { removeFiles, strayPartials, Unsynced } from "./log-files.ts";
import { type Checkpoint, formatVerifier, type NoteVerifier, noteVerifier, openCheckpoint, signCheckpoint } from "./note.ts";
import { LogReader } from "./reader.ts";
import { hashesAt, TILE_WIDTH } from "./tile-paths.ts";
import { type TileFile, Tree } from "./tree.ts";

export const CHECKPOINT_FILE = "checkpoint";
export const VERIFIER_FILE = "verifier";
/** Checkpoints of earlier sizes, by size: one for each full tile, and for each start. */
export const ARCHIVE_FOLDER = "checkpoints";
/** Entries that may wait for the disk; beyond them nothing is issued. */
export const MAX_PENDING = 4096;

function broken(where: string, message: string, cause?: unknown): AppError {
  return new AppError("invalid-configuration", message, {
    where,
    help: "see what `garrison ca verify-log` says, and restore the state folder from a backup",
    cause,
  });
}

/** The name under which a trust domain's log signs. */
function originOf(trustDomain: TrustDomain): string {
  return `${trustDomain}/garrison-ca`;
}

/** The log's key, made with the log. */
function openKey(path: string, isNew: boolean): KeyObject {
  if (isNew && readPrivateFile(path) === undefined)
    writePrivateFile(path, generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString());
  const text = readPrivateFile(path);
  if (text === undefined) throw broken(path, "the key of the log is missing beside its files");
  try {
    const key = createPrivateKey(text);
    if (key.asymmetricKeyType === "ed25519") return key;
  } catch {
    // Told below, without a word of what is in it.
  }
  throw broken(path, "the file is no Ed25519 private key");
}

/** Whether there is a log already; a first start may have ended before its first checkpoint. */
function hasBegun(folder: string): boolean {
  const archive = join(folder, ARCHIVE_FOLDER);
  return existsSync(join(folder, CHECKPOINT_FILE)) || (existsSync(archive) && readdirSync(archive).some((name) => name !== "0"));
}

/** The right edge of a tree as its files have it. */
function restoreTree(folder: string, size: number): Tree {
  const reader = new LogReader(folder, size);
  const levels: (readonly Uint8Array[])[] = [];
  for (let level = 0; hashesAt(level, size) > 0; level++) {
    const count = hashesAt(level, size);
    levels.push(count % TILE_WIDTH === 0 ? [] : reader.tile(level, Math.floor(count / TILE_WIDTH)));
  }
  return Tree.restore(size, levels, size % TILE_WIDTH === 0 ? [] : reader.bundle(Math.floor(size / TILE_WIDTH)));
}

interface Staged {
  readonly tree: Tree;
  readonly files: readonly TileFile[];
  readonly entries: number;
  readonly unsynced: Unsynced;
}

export class TransparencyLog {
  readonly folder: string;
  readonly verifier: NoteVerifier;
  readonly #key: KeyObject;
  #tree: Tree;
  /** The files of the tree's right edge, which the next ones replace. */
  #edge: readonly string[] = [];
  #pending: Uint8Array[] = [];
  #running: Promise<void> | undefined;
  #closed = false;

  /** Opens the log of a CA's folder, or starts one. Throws `invalid-configuration` when its files are not what its checkpoint says. */
  constructor(caFolder: string, trustDomain: TrustDomain) {
    this.folder = join(caFolder, "log");
    const isNew = !hasBegun(this.folder);
    this.#key = openKey(join(caFolder, "log-key.pem"), isNew);
    this.verifier = noteVerifier(originOf(trustDomain), createPublicKey(this.#key));
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    this.#tree = new Tree();
    if (!isNew) this.#tree = this.#load();
    this.#edge = this.#tree.edge().map(({ path }) => path);
    removeFiles(this.folder, strayPartials(this.folder, this.#tree.edge()));
    this.#publishNow();
  }

  /** How many entries a checkpoint covers. */
  get size(): number {
    return this.#tree.size;
  }

  /** The newest checkpoint, signed. */
  get checkpoint(): string {
    return readFileSync(join(this.folder, CHECKPOINT_FILE), "utf8");
  }

  get reader(): LogReader {
    return new LogReader(this.folder, this.size);
  }

  /** Throws `unavailable` while too much waits for the disk. */
  checkRoom(): void {
    if (this.#pending.length >= MAX_PENDING)
      throw new AppError("unavailable", "the log of issued certificates cannot be written", {
        help: "look at the disk of the state folder",
      });
  }

  /** Adds entries, and begins to publish them; those that come meanwhile are published together. */
  append(entries: readonly Uint8Array[]): void {
    this.#pending.push(...entries);
    // Whoever waits for it is told of a failure.
    this.published().catch(() => undefined);
  }

  /** Adds entries, and publishes them before it returns. Throws `unavailable`. Only while nothing else waits. */
  appendNow(entries: readonly Uint8Array[]): void {
    this.#pending.push(...entries);
    this.#publishNow();
  }

  /** Resolves when a checkpoint on the disk covers all that was added before. Throws `unavailable` when it cannot be written; it is tried again with the next call. */
  async published(): Promise<void> {
    const target = this.#tree.size + this.#pending.length;
    while (this.#tree.size < target) {
      this.#running ??= this.#publish().finally(() => {
        this.#running = undefined;
      });
      await this.#running;
      if (this.#closed) throw new AppError("unavailable", "the log is closed");
    }
  }

  /** What waits is published by the next start, from the ledger. */
  close(): void {
    this.#closed = true;
  }

  #load(): Tree {
    const path = join(this.folder, CHECKPOINT_FILE);
    if (!existsSync(path)) throw broken(path, "the checkpoint is missing from the log");
    let checkpoint: Checkpoint;
    let tree: Tree;
    try {
      checkpoint = openCheckpoint(readFileSync(path, "utf8"), this.verifier);
      tree = restoreTree(this.folder, checkpoint.size);
    } catch (cause) {
      const { message, where = CHECKPOINT_FILE } = AppError.from(cause);
      throw broken(join(this.folder, where), message, cause);
    }
    if (Buffer.compare(tree.root(), checkpoint.root) !== 0)
      throw broken(this.folder, "the tiles of the log are not those of its checkpoint");
    return tree;
  }

  /** Writes the tiles; nobody counts on them before the checkpoint is put in place. */
  #stage(): Staged {
    const tree = this.#tree.copy();
    const entries = this.#pending.length;
    const files = [...this.#pending.flatMap((entry) => tree.add(entry)), ...tree.edge()];
    const unsynced = new Unsynced();
    for (const { path, bytes } of files) unsynced.write(join(this.folder, path), bytes);
    return { tree, files, entries, unsynced };
  }

  #stageCheckpoint({ tree, unsynced }: Staged, archived: boolean): void {
    const { name: origin } = this.verifier;
    const note = signCheckpoint({ origin, size: tree.size, root: tree.root() }, this.verifier, this.#key);
    unsynced.write(join(this.folder, `${CHECKPOINT_FILE}.new`), note);
    const fullTiles = (size: number) => Math.floor(size / TILE_WIDTH);
    if (archived || fullTiles(tree.size) > fullTiles(this.#tree.size))
      unsynced.write(join(this.folder, ARCHIVE_FOLDER, String(tree.size)), note);
  }

  #finish({ tree, files, entries, unsynced }: Staged): void {
    unsynced.replace(join(this.folder, `${CHECKPOINT_FILE}.new`), join(this.folder, CHECKPOINT_FILE));
    this.#tree = tree;
    this.#pending = this.#pending.slice(entries);
    const now = new Set(files.map(({ path }) => path));
    removeFiles(
      this.folder,
      this.#edge.filter((path) => !now.has(path)),
    );
    this.#edge = tree.edge().map(({ path }) => path);
  }

  async #publish(): Promise<void> {
    try {
      const staged = this.#stage();
      this.#stageCheckpoint(staged, false);
      await staged.unsynced.sync();
      if (this.#closed) return;
      this.#finish(staged);
      await staged.unsynced.sync();
    } catch (cause) {
      throw new AppError("unavailable", "the log of issued certificates cannot be written", {
        help: "look at the disk of the state folder",
        cause,
      });
    }
  }

  /** At a start: the verifier for others, and a checkpoint for the archive. */
  #publishNow(): void {
    const staged = this.#stage();
    staged.unsynced.write(join(this.folder, VERIFIER_FILE), `${formatVerifier(this.verifier)}\n`);
    this.#stageCheckpoint(staged, true);
    staged.unsynced.syncNow();
    this.#finish(staged);
    staged.unsynced.syncNow();
  }
}
