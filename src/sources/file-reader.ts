/** Reads and decodes single files, and remembers what it has read: only what changed is decoded again. */
import { hash } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { constants } from "node:fs";
import { type FileHandle, lstat, open, stat } from "node:fs/promises";
import { decodeObject } from "../policy/decode/decode.ts";
import { systemErrorCode, unreadable, unreadableBecause } from "./file-problem.ts";
import { LIMITS } from "./limits.ts";
import type { FileReading } from "./snapshot.ts";
import { parseYamlDocuments } from "./yaml-documents.ts";

/** A file this young may change again without its times telling: file systems count in ticks of some milliseconds. */
const TICK_MS = 100;
/** How often a file that changes while it is read is read again at once. */
const MAX_ATTEMPTS = 3;

interface Remembered {
  readonly fingerprint: string;
  /** Whether an equal fingerprint proves an equal content. */
  readonly settled: boolean;
  readonly digest: string;
  readonly reading: FileReading;
}

interface Content {
  readonly bytes: Buffer;
  readonly stats: BigIntStats;
}

function fingerprintOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
}

/** At most one byte more than a file may have. */
async function readBytes(handle: FileHandle): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of handle.createReadStream({ start: 0, end: LIMITS.file, autoClose: false })) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The content and the times that it had before and after; the last attempt counts even if they differ. */
async function readContent(file: string): Promise<Content | "not-a-file"> {
  // Not to wait for the writer of a named pipe.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    for (let attempt = 1; ; attempt++) {
      const before = await handle.stat({ bigint: true });
      if (!before.isFile()) return "not-a-file";
      const bytes = await readBytes(handle);
      const stats = await handle.stat({ bigint: true });
      if (attempt === MAX_ATTEMPTS || fingerprintOf(before) === fingerprintOf(stats)) return { bytes, stats };
    }
  } finally {
    await handle.close();
  }
}

/** What the bytes of a file say. */
export function decodeBytes(file: string, bytes: Buffer): FileReading {
  if (bytes.length > LIMITS.file) {
    return unreadable(file, "GAR0009", `the file has more than ${LIMITS.file / 1024 / 1024} MiB`, "split it into several files");
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return unreadable(file, "GAR0001", "the file is not YAML: it is not UTF-8", "save it as UTF-8");
  }
  const { documents, diagnostic } = parseYamlDocuments(text, file);
  if (diagnostic !== undefined) return { file, readable: false, documents: [], diagnostics: [diagnostic] };
  return { file, readable: true, documents: documents.map((node) => ({ ...decodeObject(node), place: node.place })), diagnostics: [] };
}

async function isGone(file: string): Promise<boolean> {
  return lstat(file).then(
    () => false,
    (thrown: unknown) => systemErrorCode(thrown) === "ENOENT",
  );
}

export class FileReader {
  readonly #remembered = new Map<string, Remembered>();
  #written = new Set<string>();

  /** Files that had been written, by their times and sizes, when they were read since this was asked last. */
  takeWritten(): ReadonlySet<string> {
    const written = this.#written;
    this.#written = new Set();
    return written;
  }

  /** What a file says now; undefined if it has gone. Never throws for what is wrong with the file. */
  async read(file: string): Promise<FileReading | undefined> {
    try {
      return await this.#read(file);
    } catch (thrown) {
      const code = systemErrorCode(thrown);
      this.#remembered.delete(file);
      if (code === "ENOENT" && (await isGone(file))) return undefined;
      return unreadableBecause(file, "file", code);
    }
  }

  /** Forgets all files but these. */
  keepOnly(files: ReadonlySet<string>): void {
    for (const file of this.#remembered.keys()) if (!files.has(file)) this.#remembered.delete(file);
  }

  async #read(file: string): Promise<FileReading> {
    const known = this.#remembered.get(file);
    const found = await stat(file, { bigint: true });
    if (known?.settled && known.fingerprint === fingerprintOf(found)) return known.reading;
    const content = found.isFile() ? await readContent(file) : "not-a-file";
    if (content === "not-a-file")
      return unreadable(file, "GAR0010", "the file cannot be read: it is not a regular file", "remove it, or give it another name");
    if (known?.fingerprint !== fingerprintOf(content.stats)) this.#written.add(file);
    const digest = hash("sha256", content.bytes);
    const reading = known?.digest === digest ? known.reading : decodeBytes(file, content.bytes);
    const settled = Date.now() - Number(content.stats.ctimeMs) > TICK_MS;
    this.#remembered.set(file, { fingerprint: fingerprintOf(content.stats), settled, digest, reading });
    return reading;
  }
}
