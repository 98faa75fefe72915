/**
 * The tamper-evident record of what was issued: a Merkle tree in files that others' tools read (C2SP tlog-tiles), with a signed
 * checkpoint of every size that was ever answered from.
 *
 * Entries are committed in batches: a record of the journal has them with the signed checkpoint of the tree that they make, and is on the disk
 * before `committed()` resolves. Tiles and the checkpoint's file follow, at once when nothing else is to be done, and five times a second else:
 * tiles are on the disk before the checkpoint that covers them. A start reads the journal before anything is added.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { AppError } from "../../core/error.ts";
import type { TrustDomain } from "../../identity/trust-domain.ts";
import { readPrivateFile, writePrivateFile } from "../state-files.ts";
import { Journal } from "./journal.ts";
import { removeFiles, strayPartials, Unsynced } from "./log-files.ts";
import { type Checkpoint, formatVerifier, type NoteVerifier, noteVerifier, openCheckpoint, signCheckpoint } from "./note.ts";
import { LogReader } from "./reader.ts";
import { replayJournal, restoreTree } from "./restore.ts";
import { type TileFile, Tree } from "./tree.ts";

export const CHECKPOINT_FILE = "checkpoint";
export const VERIFIER_FILE = "verifier";
/** Checkpoints of earlier sizes, by size: one for each full tile, and for each start. */
export const ARCHIVE_FOLDER = "checkpoints";
/** Entries that may wait for the disk; beyond them nothing is issued. */
export const MAX_PENDING = 4096;
/** Entries that the journal may have and the tiles not; beyond them nothing is issued. */
const MAX_UNWRITTEN = 16_384;
/** Between one writing of tiles and the next. */
const TILES_EVERY_MS = 200;
const TILES_AGAIN_MS = 1000;

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

function cannotWrite(cause?: unknown): AppError {
  return new AppError("unavailable", "the log of issued certificates cannot be written", {
    help: "look at the disk of the state folder",
    cause,
  });
}

/** Files on their way to the disk. */
interface Staged {
  readonly tree: Tree;
  readonly files: readonly TileFile[];
  readonly unsynced: Unsynced;
}

export class TransparencyLog {
  readonly folder: string;
  readonly verifier: NoteVerifier;
  /** Whether this opening began it: there was no such CA before. */
  readonly isNew: boolean;
  readonly #key: KeyObject;
  readonly #journal: Journal;
  /** What is committed. */
  #tree: Tree;
  /** Its checkpoint, signed. */
  #note = "";
  /** How much of it is in tiles. */
  #written: number;
  /** Its full tiles that are not written yet. */
  #full: TileFile[] = [];
  /** The files of the written tree's right edge, which the next ones replace. */
  #edge: readonly string[];
  #pending: Uint8Array[] = [];
  #committing: Promise<void> | undefined;
  #writing: Promise<void> | undefined;
  #nextWriting = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** Opens the log of a CA's folder, or starts one. Throws `invalid-configuration` when its files are not what its checkpoint says. */
  constructor(caFolder: string, trustDomain: TrustDomain) {
    this.folder = join(caFolder, "log");
    this.isNew = !hasBegun(this.folder);
    this.#key = openKey(join(caFolder, "log-key.pem"), this.isNew);
    this.verifier = noteVerifier(originOf(trustDomain), createPublicKey(this.#key));
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    this.#tree = this.isNew ? new Tree() : this.#load();
    this.#written = this.#tree.size;
    this.#edge = this.#tree.edge().map(({ path }) => path);
    removeFiles(this.folder, strayPartials(this.folder, this.#tree.edge()));
    this.#replay();
    this.#publishNow(true);
    this.#journal = new Journal(this.folder);
  }

  /** How many entries the tiles have. */
  get size(): number {
    return this.#written;
  }

  /** The newest checkpoint of the tiles, signed. */
  get checkpoint(): string {
    return readFileSync(join(this.folder, CHECKPOINT_FILE), "utf8");
  }

  get reader(): LogReader {
    return new LogReader(this.folder, this.size);
  }

  /** Throws `unavailable` while too much waits for the disk. */
  checkRoom(): void {
    if (this.#pending.length >= MAX_PENDING || this.#tree.size - this.#written >= MAX_UNWRITTEN) throw cannotWrite();
  }

  /** Adds entries, and begins to commit them; those that come meanwhile are committed together. */
  append(entries: readonly Uint8Array[]): void {
    this.#pending.push(...entries);
    // Whoever waits for it is told of a failure.
    this.committed().catch(() => undefined);
  }

  /** Adds entries, and publishes them before it returns. Throws `unavailable`. Only while nothing else waits. */
  appendNow(entries: readonly Uint8Array[]): void {
    for (const entry of entries) this.#full.push(...this.#tree.add(entry));
    this.#publishNow(true);
  }

  /** Resolves when the disk has all that was added before, with a signed checkpoint. Throws `unavailable` when it cannot be written; it is tried again with the next call. */
  async committed(): Promise<void> {
    const target = this.#tree.size + this.#pending.length;
    while (this.#tree.size < target) {
      this.#committing ??= this.#commit().finally(() => {
        this.#committing = undefined;
        this.#release();
      });
      await this.#committing;
      if (this.#closed) throw new AppError("unavailable", "the log is closed");
    }
  }

  /** Resolves when all that was added before is in the tiles. Throws `unavailable`. */
  async published(): Promise<void> {
    const target = this.#tree.size + this.#pending.length;
    await this.committed();
    while (this.#written < target) {
      this.#nextWriting = 0;
      if (this.#committing === undefined) this.#writeSoon();
      await (this.#writing ?? this.#committing);
      if (this.#closed) throw new AppError("unavailable", "the log is closed");
    }
  }

  /** What waits is committed by the next start, from the ledger. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    const isIdle = this.#committing === undefined && this.#writing === undefined;
    try {
      if (isIdle && this.#written < this.#tree.size) this.#publishNow(false);
    } catch {
      // The journal has it.
    }
    this.#release();
  }

  /** Closes the journal, once nobody uses it any more. */
  #release(): void {
    if (this.#closed && this.#committing === undefined && this.#writing === undefined) this.#journal.close();
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

  #replay(): void {
    try {
      this.#full.push(...replayJournal(this.#tree, this.folder, this.verifier));
    } catch (cause) {
      throw broken(this.folder, AppError.from(cause).message, cause);
    }
  }

  #sign(tree: Tree): string {
    return signCheckpoint({ origin: this.verifier.name, size: tree.size, root: tree.root() }, this.verifier, this.#key);
  }

  async #commit(): Promise<void> {
    const tree = this.#tree.copy();
    const entries = this.#pending.slice();
    const full = entries.flatMap((entry) => tree.add(entry));
    const note = this.#sign(tree);
    try {
      await this.#journal.append({ note, entries });
    } catch (cause) {
      throw cannotWrite(cause);
    }
    if (this.#closed) return;
    this.#tree = tree;
    this.#note = note;
    this.#full.push(...full);
    this.#pending = this.#pending.slice(entries.length);
    this.#writeSoon();
  }

  /** Begins to write tiles, when it is time. Not while a record is on its way to the journal. */
  #writeSoon(): void {
    if (this.#writing !== undefined || this.#closed) return;
    clearTimeout(this.#timer);
    const wait = this.#nextWriting - performance.now();
    if (wait > 0) {
      this.#timer = setTimeout(() => {
        if (this.#committing === undefined) this.#writeSoon();
      }, wait).unref();
      return;
    }
    this.#writing = this.#write().finally(() => {
      this.#writing = undefined;
      this.#release();
      if (this.#written < this.#tree.size && this.#committing === undefined) this.#writeSoon();
    });
    // Whoever waits for it is told, and it is tried again.
    this.#writing.catch(() => undefined);
  }

  async #write(): Promise<void> {
    const full = this.#full;
    this.#full = [];
    try {
      const staged = this.#stage(this.#tree, full, this.#note, false);
      this.#journal.turn();
      await staged.unsynced.sync();
      if (this.#closed) return;
      this.#finish(staged);
      await staged.unsynced.sync();
      this.#journal.clearOther();
      this.#nextWriting = performance.now() + TILES_EVERY_MS;
    } catch (cause) {
      this.#full.unshift(...full);
      this.#nextWriting = performance.now() + TILES_AGAIN_MS;
      throw cannotWrite(cause);
    }
  }

  /** Writes the tiles; nobody counts on them before the checkpoint is put in place. */
  #stage(tree: Tree, full: readonly TileFile[], note: string, archived: boolean): Staged {
    const files = [...full, ...tree.edge()];
    const unsynced = new Unsynced();
    try {
      for (const { path, bytes } of files) unsynced.write(join(this.folder, path), bytes);
      unsynced.write(join(this.folder, `${CHECKPOINT_FILE}.new`), note);
      if (archived || full.length > 0) unsynced.write(join(this.folder, ARCHIVE_FOLDER, String(tree.size)), note);
    } catch (thrown) {
      unsynced.discard();
      throw thrown;
    }
    return { tree, files, unsynced };
  }

  #finish({ tree, files, unsynced }: Staged): void {
    unsynced.replace(join(this.folder, `${CHECKPOINT_FILE}.new`), join(this.folder, CHECKPOINT_FILE));
    this.#written = tree.size;
    const now = new Set(files.map(({ path }) => path));
    removeFiles(
      this.folder,
      this.#edge.filter((path) => !now.has(path)),
    );
    this.#edge = tree.edge().map(({ path }) => path);
  }

  /** Everything at once, when nothing is on its way. At a start, with the verifier for others and a checkpoint for the archive. */
  #publishNow(isStart: boolean): void {
    this.#note = this.#sign(this.#tree);
    const staged = this.#stage(this.#tree, this.#full, this.#note, isStart);
    if (isStart) staged.unsynced.write(join(this.folder, VERIFIER_FILE), `${formatVerifier(this.verifier)}\n`);
    staged.unsynced.syncNow();
    this.#finish(staged);
    staged.unsynced.syncNow();
    this.#full = [];
  }
}
