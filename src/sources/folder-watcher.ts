/** A folder of YAML files as a configuration that follows every edit. */
import { performance } from "node:perf_hooks";
import { formatDiagnostic } from "../core/diagnostic.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { FolderSource } from "./folder-source.ts";
import { FolderWatches } from "./folder-watches.ts";
import { applyLastGood, REMOVAL_HOLD_MS } from "./last-good.ts";
import type { ConfigurationSnapshot } from "./snapshot.ts";

/** After a first change: a file that is emptied and then written has its content by then. */
const SETTLE_MS = 4;
/** Between one reading and the next while changes keep coming. */
const STORM_MS = 50;
/** How much too early a timer may fire, by the finer clock. */
const TIMER_ERROR_MS = 2;
/** Between two looks that nothing asked for: links out of the folder, file systems that tell nothing. */
const DEFAULT_POLL_MS = 5000;

export interface FolderWatcherOptions {
  readonly folder: string;
  readonly logger: Logger;
  /** Exists without an object that says so; `istio-system` unless given. */
  readonly rootNamespace?: string;
  /** Milliseconds between two looks that nothing asked for; 5000 unless given. */
  readonly pollMs?: number;
  /** Called with the first snapshot before `watchFolder` resolves, and then with each that differs. */
  readonly onSnapshot: (snapshot: ConfigurationSnapshot) => void;
}

export interface FolderWatcher {
  /** What is in force now. */
  readonly current: ConfigurationSnapshot;
  /** Ends watching; nothing is called once it resolves. */
  close(): Promise<void>;
}

/** Whether the same is in force and the same is wrong; files that did not change yield the same objects. */
function isSame(left: ConfigurationSnapshot, right: ConfigurationSnapshot): boolean {
  if (left.objects.length !== right.objects.length || left.diagnostics.length !== right.diagnostics.length) return false;
  if (left.objects.some((object, index) => object !== right.objects[index])) return false;
  const texts = right.diagnostics.map(formatDiagnostic);
  return left.diagnostics.every((diagnostic, index) => formatDiagnostic(diagnostic) === texts[index]);
}

/** One loop owns the state: read, compare, tell. Three things start it: an event, a removal to be confirmed, and the poll. */
class Watching implements FolderWatcher {
  readonly #options: FolderWatcherOptions;
  readonly #source: FolderSource;
  readonly #watches: FolderWatches;
  readonly #timers = new Map<"change" | "removal" | "poll", NodeJS.Timeout>();
  #current: ConfigurationSnapshot | undefined;
  #running: Promise<void> | undefined;
  #again = false;
  #closed = false;
  #lastChange = Number.NEGATIVE_INFINITY;

  constructor(options: FolderWatcherOptions) {
    this.#options = options;
    this.#source = new FolderSource(options.folder);
    this.#watches = new FolderWatches(options.folder, options.logger, () => this.#changed());
  }

  get current(): ConfigurationSnapshot {
    if (this.#current === undefined) throw new AppError("internal", "the folder has not been read yet");
    return this.#current;
  }

  async start(): Promise<this> {
    await this.#run();
    return this;
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#watches.close();
    await this.#running;
  }

  /** The first change is read at once, a storm in steps; an event never puts a reading off. */
  #changed(): void {
    const now = performance.now();
    this.#arm("change", Math.max(SETTLE_MS, this.#lastChange + STORM_MS - now), () => {
      this.#lastChange = performance.now();
    });
  }

  #arm(name: "change" | "removal" | "poll", delay: number, first?: () => void): void {
    if (this.#closed || this.#timers.has(name)) return;
    const fire = (): void => {
      this.#timers.delete(name);
      first?.();
      this.#run().catch((thrown: unknown) => this.#failed(thrown));
    };
    this.#timers.set(name, setTimeout(fire, delay));
  }

  /** What is in force stays so, and the poll tries again. */
  #failed(thrown: unknown): void {
    this.#options.logger.log("error", "the configuration could not be read", { reason: AppError.from(thrown).message });
    this.#arm("poll", this.#options.pollMs ?? DEFAULT_POLL_MS);
  }

  /** Reads until nothing has changed meanwhile; a second caller waits for the first. */
  async #run(): Promise<void> {
    if (this.#running !== undefined) {
      this.#again = true;
      return this.#running;
    }
    this.#running = this.#loop();
    try {
      await this.#running;
    } finally {
      this.#running = undefined;
    }
  }

  async #loop(): Promise<void> {
    do {
      this.#again = false;
      const { reading, listing } = await this.#source.read();
      if (this.#closed) return;
      // What happened to a folder before its watch began has had no event.
      if (this.#watches.follow(listing.folders)) this.#again = true;
      this.#publish(applyLastGood(reading, this.#current, performance.now(), this.#options.rootNamespace));
    } while (this.#again && !this.#closed);
    if (this.#current?.statuses.some(({ state }) => state === "leaving")) this.#arm("removal", REMOVAL_HOLD_MS + TIMER_ERROR_MS);
    this.#arm("poll", this.#options.pollMs ?? DEFAULT_POLL_MS);
  }

  #publish(snapshot: ConfigurationSnapshot): void {
    const previous = this.#current;
    this.#current = snapshot;
    if (previous !== undefined && isSame(previous, snapshot)) return;
    try {
      this.#options.onSnapshot(snapshot);
    } catch (thrown) {
      const { message } = AppError.from(thrown);
      this.#options.logger.log("error", "a configuration could not be put in force", { reason: message });
    }
  }
}

/**
 * Watches a folder. Resolves once its first snapshot has been told; a folder that does not exist yet is a diagnostic
 * of that snapshot, and is taken up when it appears.
 */
export function watchFolder(options: FolderWatcherOptions): Promise<FolderWatcher> {
  return new Watching(options).start();
}
