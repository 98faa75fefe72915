import type { Diagnostic, Place } from "../core/diagnostic.ts";

interface Placed {
  readonly name: string;
}

/**
 * The first listener of each name; the others stay closed, and are told at their own place. Names say the port, or the
 * address, so two of one name would claim one place.
 */
export function firstOfEachName<T extends Placed>(
  listeners: readonly { readonly listener: T; readonly place: Place }[],
): {
  readonly listeners: readonly T[];
  readonly diagnostics: readonly Diagnostic[];
} {
  const kept = new Map<string, T>();
  const diagnostics: Diagnostic[] = [];
  for (const { listener, place } of listeners) {
    if (!kept.has(listener.name)) kept.set(listener.name, listener);
    else
      diagnostics.push({
        code: "GAR0104",
        message: `another listener of this Sidecar is \`${listener.name}\` already`,
        place,
        help: "give each its own port",
      });
  }
  return { listeners: [...kept.values()], diagnostics };
}
