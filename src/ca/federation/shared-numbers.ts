/**
 * The numbers of a bundle that several replicas serve (SPIFFE Trust Domain and Bundle §4.1.1): one document that each adds to, in which the same content has the
 * same number. Whoever asks one replica after another sees numbers that only grow, or an older one of a replica that has not heard yet, which it refuses.
 */
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import type { TrustBundle } from "../../identity/trust-bundle.ts";
import { contentDigest } from "../bundle-sequence.ts";

interface Numbered {
  readonly sequence: number;
  /** Of what the bundle with this number holds. */
  readonly digest: string;
}

export interface SharedNumbersOptions {
  /** The bundle as this replica has it, with a number of its own. */
  readonly own: () => TrustBundle;
  readonly clock: Clock;
}

/** What was numbered last and is not what this replica has stands for so long: it may be of a replica that is gone. */
const PATIENCE_MS = 60_000;
/** Replicas that differ for good contradict each other ever more rarely: at last once in so long. */
const MAX_PATIENCE_MS = 3_600_000;
/** Contents before those that were numbered last. */
const MAX_NUMBERS = 64;

function isNumbered(value: unknown): value is Numbered {
  if (typeof value !== "object" || value === null) return false;
  const { sequence, digest } = value as Partial<Numbered>;
  return Number.isSafeInteger(sequence) && typeof digest === "string";
}

/** The oldest first. Throws `invalid-configuration`. */
function parse(text: string): readonly Numbered[] {
  try {
    const { numbers } = JSON.parse(text) as { readonly numbers?: unknown };
    if (Array.isArray(numbers) && numbers.every(isNumbered)) return numbers.toSorted((a, b) => a.sequence - b.sequence);
  } catch {
    // Told below.
  }
  throw new AppError("invalid-configuration", "what replicas share of the bundle's numbers cannot be read", {
    help: "take it away where no domain federates with this one, or put a number there that is greater than all before",
  });
}

const format = (numbers: readonly Numbered[]): string => JSON.stringify({ numbers });

export class SharedNumbers {
  readonly #options: SharedNumbersOptions;
  #numbers: readonly Numbered[] = [];
  /** What this replica has, and the number of what it had before. */
  #held: { readonly digest: string; readonly before: number };
  /** How long another content may be the newest, and since when one is; milliseconds. */
  #patience = PATIENCE_MS;
  #contradicted: number | undefined;
  #served: TrustBundle | undefined;

  constructor(options: SharedNumbersOptions) {
    this.#options = options;
    this.#held = { digest: contentDigest(options.own()), before: 0 };
  }

  /** What the first replica puts there. */
  get text(): string {
    const own = this.#options.own();
    return format([{ sequence: own.sequence, digest: contentDigest(own) }]);
  }

  /** Throws `invalid-configuration`. */
  take(text: string): void {
    this.#numbers = parse(text);
    this.#look();
  }

  /** The document with a number for what this replica has; undefined where it needs none. Throws as `take`. */
  wanted(text: string): string | undefined {
    this.take(text);
    if (this.#contradicted === undefined) return undefined;
    const { digest, before } = this.#held;
    const newest = this.#numbers.at(-1);
    const known = this.#numberOf(digest);
    const isCurrent = known === undefined || known < before || this.#options.clock.now() - this.#contradicted >= this.#patience;
    if (!isCurrent) return undefined;
    const others = this.#numbers.filter((each) => each.digest !== digest);
    return format([...others, { sequence: (newest?.sequence ?? 0) + 1, digest }].slice(-MAX_NUMBERS));
  }

  /** The bundle with its shared number, or the last one that had one; undefined before the first. */
  get served(): TrustBundle | undefined {
    const own = this.#options.own();
    const sequence = this.#numberOf(contentDigest(own));
    if (sequence !== undefined) this.#served = { ...own, sequence };
    return this.#served;
  }

  /** What this replica has, and whether that is the newest. */
  #look(): void {
    const digest = contentDigest(this.#options.own());
    if (digest !== this.#held.digest) {
      this.#held = { digest, before: this.#numberOf(this.#held.digest) ?? this.#held.before };
      [this.#patience, this.#contradicted] = [PATIENCE_MS, undefined];
    }
    if (this.#numbers.at(-1)?.digest !== digest) this.#contradicted ??= this.#options.clock.now();
    else if (this.#contradicted !== undefined) {
      this.#contradicted = undefined;
      this.#patience = Math.min(2 * this.#patience, MAX_PATIENCE_MS);
    }
  }

  #numberOf(digest: string): number | undefined {
    return this.#numbers.find((each) => each.digest === digest)?.sequence;
  }
}
