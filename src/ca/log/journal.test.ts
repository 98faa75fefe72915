import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { parseTrustDomain } from "../../identity/trust-domain.ts";
import { Journal, readJournal } from "./journal.ts";
import { type NoteVerifier, openCheckpoint, signCheckpoint } from "./note.ts";
import { TransparencyLog } from "./transparency-log.ts";
import { Tree } from "./tree.ts";
import { verifyLog } from "./verify-log.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "journal-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const record = (note: string, ...entries: readonly string[]) => ({ note, entries: entries.map((entry) => Buffer.from(entry)) });
const read = () => readJournal(folder).map((records) => records.map(({ note, entries }) => [note, ...entries.map(String)].join(" ")));

describe("the journal", () => {
  test("has every record that was appended, in both of its files", async () => {
    const journal = new Journal(folder);
    await journal.append(record("one", "a", "b"));
    await journal.append(record("two", ""));
    journal.turn();
    await journal.append(record("three", "c"));
    journal.close();
    assert.deepEqual(read(), [["one a b", "two "], ["three c"]]);
    assert.equal(statSync(join(folder, "journal.0")).mode & 0o777, 0o600);
  });

  test("is overwritten from the beginning when its entries are in tiles, and what is left of former records counts for nothing", async () => {
    const journal = new Journal(folder);
    await journal.append(record("one", "a long entry that is overwritten in part"));
    await journal.append(record("two", "b"));
    journal.turn();
    journal.clearOther();
    journal.turn();
    await journal.append(record("three", "c"));
    journal.close();
    assert.deepEqual(read(), [["three c"], []]);
  });

  test("goes on in the same file while the other's entries are still needed", async () => {
    const journal = new Journal(folder);
    await journal.append(record("one", "a"));
    journal.turn();
    await journal.append(record("two", "b"));
    journal.turn();
    await journal.append(record("three", "c"));
    journal.close();
    assert.deepEqual(read(), [["one a"], ["two b", "three c"]]);
  });

  test("of which a power cut left a part ends before the first record that is not whole", async () => {
    const journal = new Journal(folder);
    await journal.append(record("one", "a"));
    const { length } = Buffer.from("one a");
    await journal.append(record("two", "b"));
    journal.close();
    const path = join(folder, "journal.0");
    const bytes = readFileSync(path);
    const second = bytes.indexOf("two");
    assert.ok(second > length);
    for (const at of [second, second - 2, second - 20]) {
      const torn = Buffer.from(bytes);
      torn[at] = (torn[at] ?? 0) ^ 0x80;
      writeFileSync(path, torn);
      assert.deepEqual(read(), [["one a"], []], `a flipped bit at ${at - second}`);
    }
    writeFileSync(path, bytes.subarray(0, second + 2));
    assert.deepEqual(read(), [["one a"], []]);
  });
});

describe("the log's journal at a start", () => {
  const entry = (number: number) => Buffer.from(`entry ${number}`);
  const open = () => new TransparencyLog(folder, parseTrustDomain("cluster.local"));
  const log = () => join(folder, "log");

  /** A log of nothing, and a journal with so many entries in each record, as a control plane leaves it that is killed before it writes tiles. */
  async function killed(counts: readonly number[], skipped = 0) {
    const first = open();
    first.close();
    const key = createPrivateKey(readFileSync(join(folder, "log-key.pem")));
    const tree = new Tree();
    const journal = new Journal(log());
    for (const [index, count] of counts.entries()) {
      const entries = Array.from({ length: count }, (_, i) => entry(tree.size + i));
      for (const each of entries) tree.add(each);
      const note = signCheckpoint({ origin: first.verifier.name, size: tree.size, root: tree.root() }, first.verifier, key);
      if (index >= skipped) await journal.append({ note, entries });
      // The file that is appended to afterwards is the second, so that the older one is not always the first.
      if (index === 1) journal.turn();
    }
    journal.close();
    return { verifier: first.verifier, tree };
  }

  const verify = (verifier: NoteVerifier) => verifyLog({ folder: log(), verifier, kept: [], rows: undefined, retainedSince: 0 });

  test("brings what was committed and not written as tiles, also more than a tile of it", async () => {
    const { verifier, tree } = await killed([1, 200, 100, 300]);
    assert.equal(verify(verifier).size, 601);
    const again = open();
    assert.deepEqual(
      [...again.reader.entries()].map(String),
      Array.from({ length: 601 }, (_, i) => `entry ${i}`),
    );
    assert.deepEqual(openCheckpoint(again.checkpoint, verifier), { origin: verifier.name, size: 601, root: Buffer.from(tree.root()) });
    again.append([entry(601)]);
    await again.committed();
    again.close();
    assert.equal(verify(verifier).size, 602);
    assert.equal(open().size, 602);
  });

  test("is refused where it does not follow on the tiles", async () => {
    const { verifier } = await killed([1, 1, 1], 1);
    const problem = "the journal goes on from 1 certificates, and the log has 0: it was set back";
    assert.throws(open, { code: "invalid-configuration", message: problem });
    assert.deepEqual(verify(verifier).problems, [{ where: "journal", message: problem }]);
  });

  test("is refused where another key has signed it", async () => {
    await killed([2]);
    const key = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" });
    writeFileSync(join(folder, "log-key.pem"), key, { mode: 0o600 });
    rmSync(join(log(), "checkpoint"));
    rmSync(join(log(), "checkpoints"), { recursive: true });
    assert.throws(open, { code: "invalid-configuration", message: "the checkpoint is not signed by the log's key" });
  });
});

test("certificates are handed out while tiles cannot be written, and tiles follow when they can", async () => {
  const log = new TransparencyLog(folder, parseTrustDomain("cluster.local"));
  const tiles = join(folder, "log", "tile");
  writeFileSync(tiles, "in the way");
  log.append([Buffer.from("a")]);
  await log.committed();
  assert.equal(log.size, 0);
  await assert.rejects(log.published(), { code: "unavailable" });
  rmSync(tiles);
  await log.published();
  assert.equal(log.size, 1);
  log.close();
});
