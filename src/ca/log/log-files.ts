/** Files of the log, written so that neither a crash nor a power cut leaves a checkpoint whose tiles are not there. */
import {
  closeSync,
  constants,
  existsSync,
  fsync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import type { TileFile } from "./tree.ts";

const fsyncLater = promisify(fsync);

/** Open files and folders that the disk does not have for certain yet. */
export class Unsynced {
  readonly #open: number[] = [];
  readonly #folders = new Set<string>();

  /** Writes a file of mode 0600, over one that may be there. */
  write(path: string, bytes: Uint8Array | string): void {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const file = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600);
    this.#open.push(file);
    writeFileSync(file, bytes);
    this.#folders.add(dirname(path));
  }

  /** Puts a written file in the place of another. */
  replace(from: string, to: string): void {
    renameSync(from, to);
    this.#folders.add(dirname(to));
  }

  /** Resolves when the disk has all of it. The files are closed, whatever happens. */
  async sync(): Promise<void> {
    const files = this.#take();
    try {
      await Promise.all(files.map((file) => fsyncLater(file)));
    } finally {
      for (const file of files) closeSync(file);
    }
  }

  /** The same, at once. */
  syncNow(): void {
    const files = this.#take();
    try {
      for (const file of files) fsyncSync(file);
    } finally {
      for (const file of files) closeSync(file);
    }
  }

  /** Closes the files, of which nobody counts on any. */
  discard(): void {
    this.#folders.clear();
    for (const file of this.#open.splice(0)) closeSync(file);
  }

  #take(): readonly number[] {
    const folders = [...this.#folders].filter((folder) => existsSync(folder)).map((folder) => openSync(folder, constants.O_RDONLY));
    this.#folders.clear();
    return [...this.#open.splice(0), ...folders];
  }
}

/** Takes away files that a later size of the tree has replaced, and folders that this empties. */
export function removeFiles(folder: string, paths: Iterable<string>): void {
  for (const path of paths) {
    rmSync(join(folder, path), { force: true });
    const partials = join(folder, dirname(path));
    if (partials.endsWith(".p") && readdirSync(partials).length === 0) rmdirSync(partials);
  }
}

/** Partial tiles that a run left beside these when it ended before their checkpoint. */
export function strayPartials(folder: string, files: readonly TileFile[]): readonly string[] {
  return files.flatMap(({ path }) => {
    const partials = dirname(path);
    if (!partials.endsWith(".p") || !existsSync(join(folder, partials))) return [];
    return readdirSync(join(folder, partials)).flatMap((name) => (name === basename(path) ? [] : [`${partials}/${name}`]));
  });
}
