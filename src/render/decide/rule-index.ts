/**
 * The rules of one layer, arranged so that a decision asks only those that can apply. A list of more than a few is split by
 * the dimension that leaves the fewest candidates: rules by their keys, each bucket split again, and the rest, which has
 * no key there. What is found is what walking through the list would find, since a rule outside of the buckets that a
 * request's text leads to cannot apply, and no request asks more rules than the walk.
 */
import type { Condition } from "../../compile/workload-policy.ts";
import type { Predicate } from "./attributes.ts";
import type { DecisionContext } from "./context.ts";
import type { Dimension, Key } from "./dimensions.ts";
import { dimensionsOf, keysOf } from "./keys.ts";

export interface IndexedRule {
  /** Where it stands in its layer: of several that apply, the first counts. */
  readonly position: number;
  readonly condition: Condition;
  readonly applies: Predicate;
}

/** So many rules are asked as quickly as they are looked up. */
const FEW = 4;
/** So many rules, evenly taken, tell which dimension splits a list best. */
const SAMPLE = 64;
/** So many lengths of beginnings are looked up for one text; a longer key is cut to the next of them. */
const MAX_LENGTHS = 8;
const MAX_LENGTH = 256;
/** So often may each value of the rules stand in the index. */
const MAX_COPIES = 8;

/** Keys that are not whole are looked up by their length; most texts show already where such a key would end that there is none. */
interface Length {
  readonly length: number;
  /** By the low byte of the character at the inner edge of a key of this length, often a slash: whether any has it. */
  readonly edges: Uint8Array;
}

type Buckets<T> = ReadonlyMap<string, T>;

interface Split<T> {
  readonly dimension: Dimension;
  readonly whole: Buckets<T>;
  /** By what the text begins with, or ends with; of these lengths only. */
  readonly parts: Buckets<T>;
  readonly lengths: readonly Length[];
  readonly rest: T;
}

function cut(text: string, length: number, side: Dimension["side"]): string {
  return side === "start" ? text.slice(0, length) : text.slice(text.length - length);
}

function edgeOf(text: string, length: number, side: Dimension["side"]): number {
  return text.charCodeAt(side === "start" ? length - 1 : text.length - length) & 0xff;
}

/** The lengths of the keys that are not whole: all, or some of them with the shortest. */
function lengthsOf(keys: readonly (readonly Key[] | undefined)[]): readonly number[] {
  const lengths = new Set<number>();
  for (const own of keys) for (const { text, whole } of own ?? []) if (!whole) lengths.add(Math.min(text.length, MAX_LENGTH));
  const step = Math.ceil(lengths.size / MAX_LENGTHS);
  return [...lengths].sort((left, right) => left - right).filter((_, index) => index % step === 0);
}

function put<R>(buckets: Map<string, R[]>, text: string, rule: R): void {
  const bucket = buckets.get(text);
  if (bucket === undefined) buckets.set(text, [rule]);
  else if (bucket.at(-1) !== rule) bucket.push(rule);
}

function withEdges(lengths: readonly number[], keys: Iterable<string>, side: Dimension["side"]): readonly Length[] {
  const found = lengths.map((length) => ({ length, edges: new Uint8Array(256) }));
  const byLength = new Map(found.map(({ length, edges }) => [length, edges]));
  for (const key of keys) {
    const edges = byLength.get(key.length);
    if (edges !== undefined) edges[edgeOf(key, key.length, side)] = 1;
  }
  return found;
}

function splitBy<R extends IndexedRule>(rules: readonly R[], dimension: Dimension): Split<R[]> {
  const keys = rules.map(({ condition }) => keysOf(condition, dimension));
  const lengths = lengthsOf(keys);
  const split = { dimension, whole: new Map<string, R[]>(), parts: new Map<string, R[]>(), rest: [] as R[] };
  for (const [index, rule] of rules.entries()) {
    const own = keys[index];
    if (own === undefined) split.rest.push(rule);
    for (const { text, whole } of own ?? []) {
      if (whole) put(split.whole, text, rule);
      else put(split.parts, cut(text, lengths.findLast((length) => length <= text.length) ?? 0, dimension.side), rule);
    }
  }
  return { ...split, lengths: withEdges(lengths, split.parts.keys(), dimension.side) };
}

function sizesOf({ whole, parts }: Split<readonly unknown[]>): readonly number[] {
  return [...whole.values(), ...parts.values()].map(({ length }) => length);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** How many rules are left for a request whose text is a key of any rule, on average. */
function candidatesOf(split: Split<readonly unknown[]>): number {
  const sizes = sizesOf(split);
  return split.rest.length + sum(sizes.map((size) => size * size)) / Math.max(1, sum(sizes));
}

/** The best split of a list; undefined where none spares an eighth of the questions. */
function bestSplit<R extends IndexedRule>(rules: readonly R[]): Split<R[]> | undefined {
  const step = Math.ceil(rules.length / SAMPLE);
  const sample = rules.filter((_, index) => index % step === 0);
  const dimensions = new Map(sample.flatMap(({ condition }) => dimensionsOf(condition)).map((dimension) => [dimension.name, dimension]));
  let best: Dimension | undefined;
  let fewest = (sample.length * 7) / 8;
  for (const dimension of dimensions.values()) {
    const candidates = candidatesOf(splitBy(sample, dimension));
    if (candidates >= fewest) continue;
    [best, fewest] = [dimension, candidates];
  }
  return best && splitBy(rules, best);
}

/** Takes what a split adds to the size of the index, as long as there is some left. */
interface Allowance {
  left: number;
}

function afford(allowance: Allowance, split: Split<readonly unknown[]>): boolean {
  const size = sum(sizesOf(split)) + split.rest.length;
  if (size > allowance.left) return false;
  allowance.left -= size;
  return true;
}

function countValues({ condition }: IndexedRule): number {
  if (condition.kind !== "when") return 0;
  let count = 0;
  for (const clauses of [...condition.from, ...condition.to, condition.when]) for (const { values } of clauses) count += values.length;
  return count;
}

function allowanceFor(rules: readonly IndexedRule[]): Allowance {
  return { left: MAX_COPIES * (rules.length + sum(rules.map(countValues))) };
}

/** Of a bucket with one rule, that rule: with many rules, each step aside is one into cold memory. */
type Part<R extends IndexedRule> = R | RuleIndex<R>;

function sizeOf(part: Part<IndexedRule>): number {
  return part instanceof RuleIndex ? part.size : 1;
}

function firstOf<R extends IndexedRule>(part: Part<R>, context: DecisionContext, before: number): R | undefined {
  if (part instanceof RuleIndex) return part.first(context, before);
  return part.position < before && part.applies(context) ? part : undefined;
}

function allOf<R extends IndexedRule>(part: Part<R>, context: DecisionContext): readonly R[] {
  if (part instanceof RuleIndex) return part.all(context);
  return part.applies(context) ? [part] : [];
}

/** Adds the parts of the rules that have a key of this text. */
function lookUp<T>({ whole, parts, lengths, dimension }: Split<T>, text: string, found: T[]): void {
  const bucket = whole.get(text);
  if (bucket !== undefined) found.push(bucket);
  for (const { length, edges } of lengths) {
    if (length > text.length) return;
    if (edges[edgeOf(text, length, dimension.side)] === 0) continue;
    const part = parts.get(cut(text, length, dimension.side));
    if (part !== undefined) found.push(part);
  }
}

export class RuleIndex<R extends IndexedRule> {
  readonly size: number;
  readonly #rules: readonly R[];
  readonly #split: Split<Part<R>> | undefined;

  /** `rules` in the order of their positions. */
  constructor(rules: readonly R[], allowance: Allowance = allowanceFor(rules), isWhole = true) {
    this.size = rules.length;
    this.#rules = rules;
    const split = rules.length > FEW && isWhole ? bestSplit(rules) : undefined;
    if (split === undefined || !afford(allowance, split)) return;
    const child = (part: readonly R[]): Part<R> => {
      const [only] = part;
      if (only !== undefined && part.length === 1) return only;
      // A bucket with all rules in it again would be split the same way without end.
      return new RuleIndex(part, allowance, part.length < rules.length);
    };
    const children = (buckets: Buckets<R[]>): Buckets<Part<R>> => {
      const arranged = new Map<string, Part<R>>();
      for (const [text, bucket] of buckets) arranged.set(text, child(bucket));
      return arranged;
    };
    this.#split = { ...split, whole: children(split.whole), parts: children(split.parts), rest: child(split.rest) };
  }

  /** The first rule that applies, of those before a position. */
  first(context: DecisionContext, before = Number.POSITIVE_INFINITY): R | undefined {
    const candidates = this.#candidates(context);
    if (candidates === undefined) return this.#walk(context, before);
    let found: R | undefined;
    for (const candidate of candidates) found = firstOf(candidate, context, found?.position ?? before) ?? found;
    return found;
  }

  /** Every rule that applies, in order. */
  all(context: DecisionContext): readonly R[] {
    const candidates = this.#candidates(context);
    if (candidates === undefined) return this.#rules.filter((rule) => rule.applies(context));
    const found = new Set(candidates.flatMap((candidate) => allOf(candidate, context)));
    return [...found].sort((left, right) => left.position - right.position);
  }

  #walk(context: DecisionContext, before: number): R | undefined {
    for (const rule of this.#rules) {
      if (rule.position >= before) return undefined;
      if (rule.applies(context)) return rule;
    }
    return undefined;
  }

  /** The parts in which every rule is that can apply; undefined where they are no fewer than all. */
  #candidates(context: DecisionContext): readonly Part<R>[] | undefined {
    const split = this.#split;
    if (split === undefined) return undefined;
    const shown = split.dimension.read(context);
    const found: Part<R>[] = [];
    if (typeof shown === "string") lookUp(split, shown, found);
    else for (const text of shown ?? []) lookUp(split, text, found);
    if (sizeOf(split.rest) > 0) found.push(split.rest);
    let size = 0;
    for (const part of found) size += sizeOf(part);
    return size > this.size ? undefined : found;
  }
}
