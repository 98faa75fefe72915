/** Lines of several replicas, each in the order of arrival, as one in that order. */

interface Arrived {
  /** Milliseconds. */
  readonly received: number;
  readonly line: string;
}

export interface ArrivedSource {
  /** In the order that is asked for. */
  readonly lines: AsyncGenerator<Arrived, void, undefined>;
  /** What is told where no more comes of it for a failure. */
  readonly lost: (thrown: unknown) => string;
}

type Step = { readonly kind: "head"; readonly head: Arrived } | { readonly kind: "lost"; readonly told: string } | undefined;

async function advance({ lines, lost }: ArrivedSource): Promise<Step> {
  try {
    const next = await lines.next();
    return next.done === true ? undefined : { kind: "head", head: next.value };
  } catch (thrown) {
    return { kind: "lost", told: lost(thrown) };
  }
}

/**
 * The first `limit` of all. Of what arrived at one moment, the source that is named first comes first. A source that fails is told in its place, and the
 * others go on. Begins when each has said something.
 */
export async function* mergeArrived(
  sources: readonly ArrivedSource[],
  order: "oldest" | "newest",
  limit: number,
): AsyncGenerator<string, void, undefined> {
  const isBefore = (one: Arrived, other: Arrived | undefined): boolean => {
    if (other === undefined) return true;
    return order === "newest" ? one.received > other.received : one.received < other.received;
  };
  const heads: (Arrived | undefined)[] = sources.map(() => undefined);
  const take = (at: number, step: Step): string | undefined => {
    heads[at] = step?.kind === "head" ? step.head : undefined;
    return step?.kind === "lost" ? step.told : undefined;
  };
  try {
    const first = await Promise.all(sources.map(advance));
    yield* first.map((step, at) => take(at, step)).filter((told) => told !== undefined);
    for (let left = limit; left > 0; left--) {
      let at = -1;
      for (const [index, head] of heads.entries()) if (head !== undefined && isBefore(head, heads[at])) at = index;
      const [source, head] = [sources[at], heads[at]];
      if (source === undefined || head === undefined) return;
      yield head.line;
      if (left === 1) return;
      const told = take(at, await advance(source));
      if (told !== undefined) yield told;
    }
  } finally {
    await Promise.all(sources.map(({ lines }) => lines.return()));
  }
}
