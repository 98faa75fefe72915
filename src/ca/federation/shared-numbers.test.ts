import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../../test/fakes/manual-clock.ts";
import { SharedNumbers } from "./shared-numbers.ts";

const MINUTE_MS = 60_000;

/** Replicas and the one document that they share; each has the content that is said, and a number of its own that counts for nothing later. */
class World {
  readonly clock = new ManualClock(1_000_000);
  readonly #contents = new Map<string, string>();
  readonly #replicas = new Map<string, SharedNumbers>();
  text = "";
  /** How often the document was written. */
  writes = 0;

  start(name: string, content: string, sequence = 1): void {
    this.#contents.set(name, content);
    const own = () => ({ roots: this.#contents.get(name) ?? "", jwks: "", sequence, refreshHintSeconds: 300 });
    const replica = new SharedNumbers({ own, clock: this.clock });
    if (this.text === "") this.text = replica.text;
    replica.take(this.text);
    this.#replicas.set(name, replica);
    this.write(name);
  }

  change(name: string, content: string): void {
    this.#contents.set(name, content);
    this.write(name);
  }

  /** What the replica wants there is there, and everybody has read it. */
  write(name: string): void {
    const wanted = this.#replicas.get(name)?.wanted(this.text);
    if (wanted !== undefined) this.writes += 1;
    this.text = wanted ?? this.text;
    for (const replica of this.#replicas.values()) replica.take(this.text);
  }

  stop(name: string): void {
    this.#replicas.delete(name);
  }

  /** `CONTENT NUMBER`. */
  served(name: string): string {
    const bundle = this.#replicas.get(name)?.served;
    return bundle === undefined ? "" : `${bundle.roots} ${bundle.sequence}`;
  }
}

test("replicas number one content by one number, and the next by a greater one, whoever has it first", () => {
  const world = new World();
  world.start("a", "x", 7);
  world.start("b", "x", 2);
  assert.deepEqual([world.served("a"), world.served("b")], ["x 7", "x 7"]);
  world.change("b", "y");
  assert.deepEqual([world.served("a"), world.served("b")], ["x 7", "y 8"]);
  world.change("a", "y");
  assert.deepEqual([world.served("a"), world.served("b")], ["y 8", "y 8"]);
});

test("what was there once and is back has a new number, at once", () => {
  const world = new World();
  world.start("a", "x");
  world.start("b", "x");
  for (const content of ["y", "x"]) for (const name of ["a", "b"]) world.change(name, content);
  assert.deepEqual([world.served("a"), world.served("b")], ["x 3", "x 3"]);
});

test("a replica on another way to the same end takes the others along", () => {
  const world = new World();
  world.start("a", "x");
  world.start("b", "x");
  world.change("a", "y");
  world.change("b", "half");
  assert.deepEqual([world.served("a"), world.served("b")], ["y 2", "half 3"]);
  world.change("b", "y");
  assert.deepEqual([world.served("a"), world.served("b")], ["y 4", "y 4"]);
});

test("what a replica said that is gone does not stand in the way for longer than a minute", async () => {
  const world = new World();
  world.start("a", "x");
  world.start("b", "x");
  world.change("b", "y");
  world.stop("b");
  await world.clock.advance(MINUTE_MS - 1);
  world.write("a");
  assert.equal(world.served("a"), "x 1");
  await world.clock.advance(1);
  world.write("a");
  assert.equal(world.served("a"), "x 3");
  world.write("a");
  assert.equal(world.served("a"), "x 3");
});

test("a replica that is slow to come to what another has takes nothing back, however long it has had the old", async () => {
  const world = new World();
  for (const name of ["a", "b"]) world.start(name, "x");
  await world.clock.advance(60 * MINUTE_MS);
  world.change("b", "y");
  await world.clock.advance(MINUTE_MS - 1);
  world.write("a");
  assert.deepEqual([world.served("a"), world.served("b")], ["x 1", "y 2"]);
  world.change("a", "y");
  assert.deepEqual([world.served("a"), world.served("b"), world.writes], ["y 2", "y 2", 1]);
});

test("replicas that differ do not number against each other without end, and settle once they have the same", async () => {
  const world = new World();
  for (const name of ["a", "b"]) world.start(name, "x");
  world.change("b", "y");
  const pass = async (minutes: number): Promise<number> => {
    const before = world.writes;
    for (let quarter = 0; quarter < 4 * minutes; quarter++) {
      await world.clock.advance(MINUTE_MS / 4);
      for (const name of ["a", "b"]) world.write(name);
    }
    return world.writes - before;
  };
  assert.deepEqual([await pass(10), await pass(110), await pass(600)], [4, 6, 10]);
  world.change("b", "x");
  assert.deepEqual([await pass(600), world.served("a")], [0, world.served("b")]);
});

test("a content that has no number yet is not served: the last that had one is", () => {
  const clock = new ManualClock(0);
  let content = "x";
  const numbers = new SharedNumbers({ own: () => ({ roots: content, jwks: "", sequence: 5, refreshHintSeconds: 300 }), clock });
  const served = () => {
    const bundle = numbers.served;
    return bundle === undefined ? "nothing" : `${bundle.roots} ${bundle.sequence}`;
  };
  assert.equal(served(), "nothing");
  numbers.take(numbers.text);
  assert.equal(served(), "x 5");
  content = "y";
  assert.equal(served(), "x 5");
});

test("old numbers are forgotten, and a document that is none is refused", () => {
  const world = new World();
  world.start("a", "0");
  for (let change = 1; change <= 100; change++) world.change("a", String(change));
  assert.equal(world.served("a"), "100 101");
  assert.equal((JSON.parse(world.text) as { readonly numbers: readonly unknown[] }).numbers.length, 64);
  const numbers = new SharedNumbers({ own: () => ({ roots: "", jwks: "", sequence: 1, refreshHintSeconds: 300 }), clock: world.clock });
  for (const text of ["", "{}", '{"numbers":[{"sequence":"1","digest":""}]}'])
    assert.throws(() => numbers.take(text), { code: "invalid-configuration" });
});
