import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { resource } from "./cache.ts";
import { Versions } from "./versions.ts";

const NAMES = Array.from({ length: 60 }, (_, index) => `r${index}`);
const name = fc.constantFrom(...NAMES);
const version = fc.constantFrom("1", "2");
const versionOf = (text: string) => resource("", Buffer.from(text)).version;
/** Maps of most names, as one state after another has them, or of few. */
const map = fc.record({ without: fc.subarray(NAMES), few: fc.boolean(), edited: fc.subarray(NAMES) }).map(({ without, few, edited }) => {
  const names = few ? without : NAMES.filter((one) => !without.slice(0, 5).includes(one));
  return new Map(names.map((one) => [one, resource(one, Buffer.from(edited.includes(one) ? "2" : "1"))] as const));
});
type Step =
  | { readonly kind: "set"; readonly name: string; readonly version: string }
  | { readonly kind: "delete"; readonly name: string }
  | { readonly kind: "take" | "near"; readonly map: ReturnType<typeof resource> extends infer R ? ReadonlyMap<string, R> : never };
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("set" as const), name, version: version.map(versionOf) }),
  fc.record({ kind: fc.constant("delete" as const), name }),
  fc.record({ kind: fc.constant("take" as const), map }),
  fc.record({ kind: fc.constant("near" as const), map }),
);

test("versions are those of a plain map, whatever they are told apart from", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const [versions, plain] = [new Versions(), new Map<string, string>()];
      for (const one of steps) {
        if (one.kind === "delete") {
          versions.delete(one.name);
          plain.delete(one.name);
        } else if (one.kind === "near") versions.near(one.map);
        else {
          const entries = one.kind === "set" ? [one] : [...one.map.values()];
          for (const entry of entries) {
            versions.set(entry.name, entry.version);
            plain.set(entry.name, entry.version);
          }
          if (one.kind === "take") versions.near(one.map);
        }
        assert.deepEqual([...versions.names].sort(), [...plain.keys()].sort());
        for (const asked of NAMES) assert.deepEqual([versions.get(asked), versions.has(asked)], [plain.get(asked), plain.has(asked)]);
      }
    }),
    { numRuns: 500 },
  );
});
