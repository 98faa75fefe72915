/** Objects by their namespace, arranged once for each list: a mesh has thousands, a namespace few. */
import type { Workload } from "./snapshot.ts";

type Index<T> = ReadonlyMap<string, readonly T[]>;

function arrange<T>(items: Iterable<T>, namespaceOf: (item: T) => string): Index<T> {
  const index = new Map<string, T[]>();
  for (const item of items) {
    const namespace = namespaceOf(item);
    const own = index.get(namespace);
    if (own === undefined) index.set(namespace, [item]);
    else own.push(item);
  }
  return index;
}

interface Placed {
  readonly meta: { readonly namespace: string };
}

const lists = new WeakMap<readonly Placed[], Index<Placed>>();

/** The objects of a list that are in a namespace, in the list's order. The list must never change. */
export function inNamespace<T extends Placed>(list: readonly T[], namespace: string): readonly T[] {
  const index = (lists.get(list) as Index<T> | undefined) ?? arrange(list, ({ meta }) => meta.namespace);
  lists.set(list, index);
  return index.get(namespace) ?? [];
}

const maps = new WeakMap<ReadonlyMap<string, Workload>, Index<Workload>>();

/** The workloads that are in a namespace, in the map's order. The map must never change. */
export function workloadsIn(workloads: ReadonlyMap<string, Workload>, namespace: string): readonly Workload[] {
  const index = maps.get(workloads) ?? arrange(workloads.values(), (workload) => workload.namespace);
  maps.set(workloads, index);
  return index.get(namespace) ?? [];
}
