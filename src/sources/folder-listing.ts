/** Which files of YAML, or JSON, a folder holds. */
import type { Dirent } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { systemErrorCode, unreadable, unreadableBecause } from "./file-problem.ts";
import { LIMITS } from "./limits.ts";
import type { FileReading } from "./snapshot.ts";

/** JSON is YAML as well; `kubectl` takes both. */
const YAML_NAME = /\.(?:ya?ml|json)$/;

export interface FolderListing {
  /** Paths of YAML files, sorted within each folder. */
  readonly files: readonly string[];
  /** Every folder that was listed, by path, with what tells it from another of that path. */
  readonly folders: ReadonlyMap<string, string>;
  /** Folders that could not be listed, or not in full. */
  readonly problems: readonly FileReading[];
}

class Walk implements FolderListing {
  readonly files: string[] = [];
  readonly folders = new Map<string, string>();
  readonly problems: FileReading[] = [];

  async enter(folder: string): Promise<void> {
    try {
      const { dev, ino } = await stat(folder, { bigint: true });
      const id = `${dev}:${ino}`;
      // Links to folders may lead in a circle, or twice to one folder.
      if ([...this.folders.values()].includes(id)) return;
      if (this.folders.size === LIMITS.folders) return this.#tooMany(folder, `more than ${LIMITS.folders} folders`);
      this.folders.set(folder, id);
      const entries = await readdir(folder, { withFileTypes: true });
      entries.sort((left, right) => (left.name < right.name ? -1 : 1));
      for (const entry of entries) await this.#visit(folder, entry);
    } catch (thrown) {
      this.problems.push(unreadableBecause(folder, "folder", systemErrorCode(thrown)));
    }
  }

  async #visit(folder: string, entry: Dirent): Promise<void> {
    // Editors' and Kubernetes' own (`.file.swp`, `..data`): what counts is linked from beside them.
    if (entry.name.startsWith(".")) return;
    const path = join(folder, entry.name);
    if (entry.isDirectory() || (entry.isSymbolicLink() && (await isFolder(path)))) return this.enter(path);
    if (!YAML_NAME.test(entry.name)) return;
    if (this.files.length === LIMITS.files) return this.#tooMany(folder, `more than ${LIMITS.files} YAML files`);
    this.files.push(path);
  }

  #tooMany(folder: string, what: string): void {
    if (this.problems.some(({ file }) => file === folder)) return;
    this.problems.push(
      unreadable(folder, "GAR0009", `the configuration has ${what}`, "split it between several control planes, or join files"),
    );
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
}

/** Lists every `*.yaml`, `*.yml` and `*.json` under a folder. Never throws for what is wrong with the folder. */
export async function listFolder(folder: string): Promise<FolderListing> {
  const walk = new Walk();
  await walk.enter(folder);
  return walk;
}
