/**
 * Keeps the keys of every issuer that the mesh names: fetched at once, refreshed on time, kept while the issuer is down.
 * Where there never were any, there are none, and every token of that issuer is refused: nothing stands in for them.
 */
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { PublicJwk, ReadJwks } from "../policy/jwks.ts";
import type { RemoteJwks } from "../policy/model.ts";
import type { JwksStore } from "./store.ts";

export interface JwksResolverOptions {
  readonly download: (source: RemoteJwks) => Promise<ReadJwks>;
  readonly store: JwksStore;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Some keys are other ones now. */
  readonly onChange: () => void;
  /** Time from a success to the next fetch (JW-6: 20 minutes), and from a first failure to the next try. */
  readonly refreshMs?: number;
  readonly retryMs?: number;
}

/** What is known of one source, for people. */
export interface JwksStatus {
  readonly source: string;
  readonly kids: readonly string[];
  /** Milliseconds since the epoch; undefined where it never succeeded. */
  readonly fetchedAt: number | undefined;
  /** Why the last fetch failed; undefined where it succeeded. */
  readonly error: string | undefined;
}

interface Entry {
  readonly source: RemoteJwks;
  readonly name: string;
  keys: readonly PublicJwk[];
  fetchedAt: number | undefined;
  error: string | undefined;
  failures: number;
  timer: NodeJS.Timeout | undefined;
}

const REFRESH_MS = 20 * 60_000;
const RETRY_MS = 2_000;
const MAX_SOURCES = 1_000;
const NO_KEYS: readonly PublicJwk[] = [];

/** What tells one source from another: the time limit does not. */
function nameOf({ kind, url }: RemoteJwks): string {
  return `${kind} ${url}`;
}

export class JwksResolver {
  readonly #options: JwksResolverOptions;
  readonly #entries = new Map<string, Entry>();

  constructor(options: JwksResolverOptions) {
    this.#options = options;
  }

  /** The keys of a source that is wanted; none where none were ever fetched. */
  keysOf(source: RemoteJwks): readonly PublicJwk[] {
    return this.#entries.get(nameOf(source))?.keys ?? NO_KEYS;
  }

  statuses(): readonly JwksStatus[] {
    return [...this.#entries.values()].map(({ name, keys, fetchedAt, error }) => ({
      source: name,
      kids: keys.map(({ kid = "" }) => kid),
      fetchedAt,
      error,
    }));
  }

  /** From now on these sources, and no others. New ones come from disk at once, if they are there, and are fetched. */
  want(sources: readonly RemoteJwks[]): void {
    const wanted = new Map(sources.map((source) => [nameOf(source), source]));
    for (const [name, entry] of [...this.#entries]) if (!wanted.has(name)) this.#drop(entry);
    for (const [name, source] of wanted) if (!this.#entries.has(name)) this.#add(name, source);
  }

  close(): void {
    for (const { timer } of this.#entries.values()) clearTimeout(timer);
    this.#entries.clear();
  }

  #add(name: string, source: RemoteJwks): void {
    const { store, logger } = this.#options;
    if (this.#entries.size >= MAX_SOURCES) {
      logger.log("error", "too many sources of keys: tokens of this one are refused", { source: name, most: MAX_SOURCES });
      return;
    }
    const kept = store.read(name);
    const entry: Entry = {
      source,
      name,
      keys: kept?.keys ?? NO_KEYS,
      fetchedAt: kept?.fetchedAt,
      error: undefined,
      failures: 0,
      timer: undefined,
    };
    this.#entries.set(name, entry);
    void this.#refresh(entry);
  }

  #drop(entry: Entry): void {
    clearTimeout(entry.timer);
    this.#entries.delete(entry.name);
    this.#options.store.remove(entry.name);
  }

  async #refresh(entry: Entry): Promise<void> {
    const outcome = await this.#options.download(entry.source).catch((thrown: unknown) => AppError.from(thrown));
    if (this.#entries.get(entry.name) !== entry) return;
    if (outcome instanceof AppError) this.#failed(entry, outcome);
    else this.#succeeded(entry, outcome);
  }

  #succeeded(entry: Entry, { keys, dropped }: ReadJwks): void {
    const { clock, logger, onChange, refreshMs = REFRESH_MS } = this.#options;
    const changed = JSON.stringify(keys) !== JSON.stringify(entry.keys);
    if (entry.failures > 0) logger.log("info", "keys of tokens can be fetched again", { source: entry.name });
    Object.assign(entry, { keys, fetchedAt: clock.now(), error: undefined, failures: 0 });
    this.#keep(entry);
    this.#again(entry, refreshMs);
    if (!changed) return;
    for (const why of dropped) logger.log("warn", "a key for tokens is not used", { source: entry.name, key: why });
    logger.log("info", "keys for tokens in force", { source: entry.name, kids: keys.map(({ kid = "-" }) => kid).join(",") });
    onChange();
  }

  #keep({ name, keys, fetchedAt = 0 }: Entry): void {
    try {
      this.#options.store.write(name, { keys, fetchedAt });
    } catch (thrown) {
      this.#options.logger.log("warn", "keys for tokens cannot be kept for a restart", {
        source: name,
        error: AppError.from(thrown).message,
      });
    }
  }

  /** The keys stay. Tries come further apart, and never less often than a refresh. */
  #failed(entry: Entry, error: AppError): void {
    const { logger, refreshMs = REFRESH_MS, retryMs = RETRY_MS } = this.#options;
    if (entry.error !== error.message) {
      const consequence = entry.keys.length === 0 ? "tokens of this issuer are refused" : "the keys that were fetched before stay in force";
      logger.log("warn", "keys for tokens cannot be fetched", { source: entry.name, error: error.message, help: error.help, consequence });
    }
    entry.error = error.message;
    entry.failures += 1;
    this.#again(entry, Math.min(refreshMs, retryMs * 2 ** Math.min(entry.failures - 1, 20)));
  }

  #again(entry: Entry, afterMs: number): void {
    entry.timer = setTimeout(() => void this.#refresh(entry), afterMs);
    entry.timer.unref();
  }
}
