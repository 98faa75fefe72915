/** Parameters of a query, which is otherwise left as it was written. */

function nameOf(pair: string): string {
  const raw = pair.split("=", 1)[0] ?? "";
  try {
    return decodeURIComponent(raw.replaceAll("+", " "));
  } catch {
    return raw;
  }
}

function pairsOf(query: string): readonly string[] {
  return query === "" || query === "?" ? [] : query.slice(1).split("&");
}

function join(pairs: readonly string[]): string {
  return pairs.length === 0 ? "" : `?${pairs.join("&")}`;
}

/** The query without a parameter. */
export function withoutParam(query: string, name: string): string {
  const pairs = pairsOf(query);
  const kept = pairs.filter((pair) => nameOf(pair) !== name);
  return kept.length === pairs.length ? query : join(kept);
}

/** The query with one value of a parameter: instead of its first, or at the end. */
export function setParam(query: string, name: string, value: string): string {
  const pair = `${encodeURIComponent(name)}=${encodeURIComponent(value)}`;
  const pairs = pairsOf(query);
  const first = pairs.findIndex((each) => nameOf(each) === name);
  if (first < 0) return join([...pairs, pair]);
  return join(pairs.flatMap((each, index) => (index === first ? [pair] : nameOf(each) === name ? [] : [each])));
}
