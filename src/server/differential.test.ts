import { describe, it } from "node:test";
import fc from "fast-check";
import { Plane, PROXIES } from "../../test/fixture/plane.ts";
import { randomObject } from "../../test/fixture/random-mesh.ts";

const proxyAt = fc.nat(PROXIES.length - 1);
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("put" as const), object: randomObject }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("remove" as const), at: fc.nat() }) },
  {
    weight: 4,
    arbitrary: fc.oneof(fc.record({ kind: fc.constant("slice" as const) }), fc.record({ kind: fc.constant("settle" as const) })),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("reconnect" as const), at: proxyAt }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constantFrom("take" as const, "answer" as const), at: proxyAt }) },
);

/** Cut short by time alone, on a machine that is busy with others. */
const BOUNDS = { numRuns: 40, interruptAfterTimeLimit: 20_000, markInterruptAsFailure: false };

describe("proxies after any edits, pushed in any slices, taken at any pace", () => {
  for (const seed of [1, 20_261_123, 7_919]) {
    it(`have what the newest objects alone come to, by delta and by state of the world (seed ${seed})`, async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(randomObject, { maxLength: 25, size: "max" }),
          fc.array(step, { maxLength: 60, size: "max" }),
          async (objects, steps) => {
            const plane = new Plane();
            for (const object of objects) plane.put(object);
            for (const at of PROXIES.keys()) await plane.connect(at);
            for (const one of steps) {
              if (one.kind === "put") plane.put(one.object);
              else if (one.kind === "remove") plane.remove(one.at);
              else if (one.kind === "slice") plane.slice();
              else if (one.kind === "settle") plane.settle();
              else if (one.kind === "reconnect") await plane.connect(one.at);
              else if (one.kind === "take") plane.proxies[one.at]?.take();
              else plane.proxies[one.at]?.answer();
            }
            plane.settle();
            plane.close();
          },
        ),
        { ...BOUNDS, seed },
      );
    });
  }
});
