/** Places within the text of a string, for what is itself YAML. */
import type { Scalar } from "yaml";
import type { Place } from "../core/diagnostic.ts";

/** The place of a character of a text, by its offset. */
export type PlaceAt = (offset: number) => Place;

/** Offsets at which lines begin. */
function lineStarts(text: string): readonly number[] {
  const starts = [0];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return starts;
}

/** The index of the last start that is not after `offset`. */
function lineOf(starts: readonly number[], offset: number): number {
  let [low, high] = [0, starts.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((starts[middle] ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * Where the characters of a scalar's value stand in `source`. A literal block (`|`) has its lines one for one, moved by
 * their indentation; of any other style only the beginning is told.
 */
export function placesWithin(scalar: Scalar, source: string, placeAt: PlaceAt): PlaceAt {
  const start = scalar.range?.[0] ?? 0;
  const value = String(scalar.value);
  const header = source.indexOf("\n", start);
  if (scalar.type !== "BLOCK_LITERAL" || header < 0) return () => placeAt(start);
  const written = source.slice(header + 1, scalar.range?.[1]).split("\n");
  const filled = value.split("\n").findIndex((line) => line !== "");
  const indent = Math.max(0, (written[filled] ?? "").trimEnd().length - (value.split("\n")[filled] ?? "").trimEnd().length);
  const [inner, outer] = [lineStarts(value), lineStarts(source)];
  const first = lineOf(outer, header) + 1;
  return (offset) => {
    const line = lineOf(inner, offset);
    return placeAt((outer[first + line] ?? start) + indent + offset - (inner[line] ?? 0));
  };
}
