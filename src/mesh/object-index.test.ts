import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { meta } from "../../test/fixture/objects.ts";
import type { MeshObject } from "../policy/model.ts";
import { ObjectIndex } from "./object-index.ts";
import { byAge } from "./order.ts";

const service = (name: string, created = 0): MeshObject => ({
  kind: "Service",
  meta: meta(`a/${name}`, { created }),
  selector: new Map(),
  ports: [],
});
const sidecar = (name: string): MeshObject => ({ kind: "Sidecar", meta: meta(`a/${name}`), selector: new Map(), ingress: [], egress: [] });

describe("an index of objects", () => {
  it("has after any edits the objects of each kind in their order, and oldest first", () => {
    const object = fc
      .tuple(fc.boolean(), fc.nat(9), fc.nat(2))
      .map(([is, name, created]) => (is ? service(`s${name}`, created) : sidecar(`s${name}`)));
    const edit = fc.record({ at: fc.nat(), remove: fc.nat(3), put: fc.array(object, { maxLength: 3 }) });
    const many = fc
      .integer({ min: 65, max: 90 })
      .map((count) => Array.from({ length: count }, (_, index) => service(`many-${index}`, count - index)));
    fc.assert(
      fc.property(fc.array(fc.oneof({ weight: 9, arbitrary: edit }, { weight: 1, arbitrary: many }), { maxLength: 12 }), (edits) => {
        let objects: readonly MeshObject[] = [];
        let index = ObjectIndex.of(objects);
        for (const one of edits) {
          objects = Array.isArray(one) ? [...objects, ...one] : objects.toSpliced(one.at % (objects.length + 1), one.remove, ...one.put);
          index = index.next(objects);
          for (const kind of ["Service", "Sidecar"] as const) {
            const of = objects.filter((candidate) => candidate.kind === kind);
            assert.deepEqual(index.of(kind), of);
            assert.deepEqual(index.byAge(kind), of.toSorted(byAge));
          }
        }
      }),
    );
  });

  it("keeps the lists of kinds of which nothing has changed, and makes those anew of which something has", () => {
    const [one, other, beside] = [service("x"), service("y"), sidecar("x")];
    const before = ObjectIndex.of([one, beside]);
    const [services, oldest, sidecars] = [before.of("Service"), before.byAge("Service"), before.of("Sidecar")];
    const after = before.next([one, other, beside]);
    assert.equal(after.of("Sidecar"), sidecars);
    assert.notEqual(after.of("Service"), services);
    assert.deepEqual([services, oldest], [[one], [one]]);
    assert.equal(before.next([one, beside]).of("Service"), services);
    assert.equal(after.with("Sidecar", []).of("Service"), after.of("Service"));
    assert.deepEqual(after.with("Sidecar", []).objects, [one, other]);
  });
});
