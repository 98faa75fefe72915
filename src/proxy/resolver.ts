/** DNS names of endpoints -> addresses, with bounds: one question for a name at a time, asked again only after a while. */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { AppError } from "../core/error.ts";

/** How long an answer is used; getaddrinfo does not tell its lifetime. */
const FRESH_MS = 30_000;
/** How long a failure is the answer, so that a name that is not there is not asked for at each request. */
const FAILED_MS = 1_000;
const MAX_ADDRESSES = 32;
const MAX_NAMES = 1_024;

/** Every address of a name, IPv4 first. */
export type Lookup = (name: string) => Promise<readonly string[]>;

interface Entry {
  addresses: readonly string[];
  until: number;
  asking: Promise<void> | undefined;
}

async function systemLookup(name: string): Promise<readonly string[]> {
  const found = await lookup(name, { all: true, order: "ipv4first" });
  return found.map(({ address }) => address);
}

export class Resolver {
  readonly #lookup: Lookup;
  readonly #entries = new Map<string, Entry>();

  constructor(lookup: Lookup = systemLookup) {
    this.#lookup = lookup;
  }

  /** The addresses of a name, or the address itself. A name that no longer resolves keeps its last addresses. Rejects with `unavailable`. */
  async resolve(name: string, timeoutMs: number): Promise<readonly string[]> {
    if (isIP(name) !== 0) return [name];
    const entry = this.#entry(name);
    if (performance.now() >= entry.until) {
      entry.asking ??= this.#ask(name, entry);
      if (entry.addresses.length === 0) await within(entry.asking, timeoutMs);
    }
    if (entry.addresses.length === 0) throw new AppError("unavailable", `\`${name}\` cannot be resolved`);
    return entry.addresses;
  }

  #entry(name: string): Entry {
    const known = this.#entries.get(name) ?? { addresses: [], until: 0, asking: undefined };
    if (this.#entries.size >= MAX_NAMES) this.#entries.clear();
    this.#entries.set(name, known);
    return known;
  }

  async #ask(name: string, entry: Entry): Promise<void> {
    try {
      entry.addresses = (await this.#lookup(name)).slice(0, MAX_ADDRESSES);
      entry.until = performance.now() + FRESH_MS;
    } catch {
      entry.until = performance.now() + FAILED_MS;
    } finally {
      entry.asking = undefined;
    }
  }
}

/** Resolves with the promise, or when the time is over. */
async function within(promise: Promise<void>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, timeoutMs);
  });
  await Promise.race([promise, late]);
  clearTimeout(timer);
}
