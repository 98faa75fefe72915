/** Where tiles and bundles of entries lie below a log's folder (C2SP tlog-tiles). */

/** Hashes in a full tile, and entries in a full bundle. */
export const TILE_WIDTH = 256;

/** 1234067 is `x001/x234/067`. */
function number(index: number): string {
  const groups = [String(index % 1000).padStart(3, "0")];
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000))
    groups.unshift(`x${String(rest % 1000).padStart(3, "0")}`);
  return groups.join("/");
}

function path(kind: string, index: number, width: number): string {
  return `tile/${kind}/${number(index)}${width === TILE_WIDTH ? "" : `.p/${width}`}`;
}

/** The tile `index` of a level, which holds `width` hashes. */
export function tilePath(level: number, index: number, width: number): string {
  return path(String(level), index, width);
}

/** The bundle `index`, which holds `width` entries. */
export function bundlePath(index: number, width: number): string {
  return path("entries", index, width);
}

/** How many hashes of a level there are in a tree of `size` leaves: one for each perfect subtree of 256^level leaves. */
export function hashesAt(level: number, size: number): number {
  return Math.floor(size / TILE_WIDTH ** level);
}

/** How many of `count` hashes lie in the tile `index`. */
export function widthOf(index: number, count: number): number {
  return Math.min(TILE_WIDTH, count - index * TILE_WIDTH);
}
