/** All items, of each group one after the other: where only the first so many count, no group takes the place of another. Groups come as they are found. */
export function inTurns<Item>(items: Iterable<Item>, groupOf: (item: Item) => string): readonly Item[] {
  const groups = [...Map.groupBy(items, groupOf).values()];
  const longest = Math.max(0, ...groups.map(({ length }) => length));
  return Array.from({ length: longest }, (_, turn) => groups.flatMap((group) => group.slice(turn, turn + 1))).flat();
}
