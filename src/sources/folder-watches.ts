/** The operating system's watches on a set of folders. They only make things quick: whoever uses them also looks from time to time. */
import { type FSWatcher, watch } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import type { Logger } from "../core/logger.ts";
import { systemErrorCode } from "./file-problem.ts";

interface Watch {
  readonly id: string;
  readonly watcher: FSWatcher | undefined;
}

export class FolderWatches {
  readonly #root: string;
  readonly #logger: Logger;
  readonly #onEvent: () => void;
  readonly #watches = new Map<string, Watch>();

  /** `onEvent` is called for anything that happens to an entry of a watched folder, and to `root` itself. */
  constructor(root: string, logger: Logger, onEvent: () => void) {
    this.#root = resolve(root);
    this.#logger = logger;
    this.#onEvent = onEvent;
  }

  /** Watches exactly these folders (path to what tells it from another of that path), and where the root is linked from. Whether any watch is new. */
  follow(folders: ReadonlyMap<string, string>): boolean {
    const wanted = new Map([...folders].map(([path, id]) => [resolve(path), id]));
    const parent = dirname(this.#root);
    if (!wanted.has(parent)) wanted.set(parent, "parent");
    for (const [path, { id }] of this.#watches) if (wanted.get(path) !== id) this.#forget(path);
    const missing = [...wanted].filter(([path]) => !this.#watches.has(path));
    for (const [path, id] of missing) this.#watches.set(path, { id, watcher: this.#open(path, id === "parent") });
    return missing.length > 0;
  }

  close(): void {
    for (const path of [...this.#watches.keys()]) this.#forget(path);
  }

  #open(path: string, rootOnly: boolean): FSWatcher | undefined {
    const name = basename(this.#root);
    try {
      const watcher = watch(path, (_, entry) => {
        if (!rootOnly || entry === null || entry === name) this.#onEvent();
      });
      watcher.on("error", (error) => this.#tell(path, error));
      return watcher;
    } catch (thrown) {
      this.#tell(path, thrown);
      return undefined;
    }
  }

  #tell(path: string, thrown: unknown): void {
    const reason = systemErrorCode(thrown);
    this.#logger.log("warn", "a folder cannot be watched: its changes are seen a little later", { folder: path, reason });
  }

  #forget(path: string): void {
    this.#watches.get(path)?.watcher?.close();
    this.#watches.delete(path);
  }
}
