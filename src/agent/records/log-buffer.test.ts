import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Batch, LogBuffer } from "./log-buffer.ts";
import type { LogBlock } from "./messages.ts";

/** A block whose name tells it from others. */
const block = (log: string, count = 1, bytes = 100): LogBlock => ({ log, kind: "http", entries: new Uint8Array(bytes), count });
const names = (batch: Batch | undefined) => batch?.blocks.map(({ log }) => log).join(" ");

function filled(capacity: number, logs: string, maxBytes = 1 << 20): LogBuffer {
  const buffer = new LogBuffer({ capacity, maxBytes });
  for (const log of logs) buffer.add(block(log));
  return buffer;
}

describe("the buffer of Envoy's records", () => {
  it("gives each entry a number, and keeps it until it is acknowledged", () => {
    const buffer = new LogBuffer({ capacity: 100, maxBytes: 1 << 20 });
    buffer.add(block("a", 3));
    const first = buffer.take();
    assert.deepEqual([first?.first, first?.lost, names(first)], [1, 0, "a"]);
    buffer.add(block("b", 2));
    const second = buffer.take();
    assert.deepEqual([second?.first, names(second)], [4, "b"]);
    assert.equal(buffer.take(), undefined);
    assert.equal(buffer.waiting, 5);
    buffer.acknowledge(3);
    assert.equal(buffer.waiting, 2);
    buffer.acknowledge(2);
    assert.deepEqual([buffer.waiting, buffer.sentBytes], [0, 0]);
  });

  it("sends what was not acknowledged once more, under the same numbers", () => {
    const buffer = filled(100, "abc");
    buffer.take();
    buffer.acknowledge(1);
    buffer.rewind();
    const again = buffer.take();
    assert.deepEqual([again?.first, names(again)], [2, "b c"]);
  });

  it("makes messages of a bounded length, and one of an entry that is longer", () => {
    const buffer = new LogBuffer({ capacity: 1_000, maxBytes: 1 << 24 });
    for (const log of "abcd") buffer.add(block(log, 1, 30_000));
    buffer.add(block("e", 1, 200_000));
    assert.deepEqual([names(buffer.take()), names(buffer.take()), names(buffer.take()), buffer.take()], ["a b", "c d", "e", undefined]);
  });

  it("drops the oldest beyond its bound, and tells how many with the next", () => {
    const buffer = filled(3, "abcdefgh");
    assert.deepEqual([buffer.waiting, buffer.lost], [3, 5]);
    const batch = buffer.take();
    assert.deepEqual([batch?.first, batch?.lost, names(batch)], [6, 5, "f g h"]);
    assert.equal(buffer.acknowledge(3), 5);
  });

  it("drops by bytes too, and keeps the newest however large it is", () => {
    const buffer = filled(1_000, "abcdef", 1_600);
    assert.equal(names(buffer.take()), "d e f");
    buffer.rewind();
    buffer.add(block("x", 1, 10_000));
    assert.equal(names(buffer.take()), "x");
    assert.equal(buffer.lost, 6);
  });

  it("keeps what is on its way, drops what comes after it, and tells so in its place", () => {
    const buffer = filled(3, "ab");
    buffer.take();
    for (const log of "cdefg") buffer.add(block(log));
    assert.equal(buffer.waiting, 3);
    const batch = buffer.take();
    assert.deepEqual([batch?.first, batch?.lost, names(batch)], [7, 4, "g"]);
    // The stream ends: what is sent again tells the same, each in its place.
    buffer.rewind();
    assert.deepEqual([names(buffer.take()), names(buffer.take())], ["a b", "g"]);
    assert.equal(buffer.acknowledge(2), 0);
    assert.equal(buffer.acknowledge(1), 4);
  });

  it("counts what it drops of what it had sent, once", () => {
    const buffer = filled(2, "ab");
    buffer.take();
    buffer.rewind();
    for (const log of "cd") buffer.add(block(log));
    const batch = buffer.take();
    assert.deepEqual([batch?.first, batch?.lost, names(batch), buffer.lost], [3, 2, "c d", 2]);
  });

  it("is not misled by a control plane that acknowledges more than there is", () => {
    const buffer = filled(10, "abc");
    buffer.acknowledge(1_000);
    assert.equal(buffer.waiting, 3);
    buffer.take();
    buffer.add(block("d"));
    buffer.acknowledge(1_000);
    assert.deepEqual([buffer.waiting, names(buffer.take())], [1, "d"]);
  });
});
