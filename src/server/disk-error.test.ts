import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import { AppError } from "../core/error.ts";
import { errorOf } from "./disk-error.ts";

function thrownBy(run: () => void): unknown {
  try {
    run();
  } catch (thrown) {
    return thrown;
  }
  return assert.fail("nothing was thrown");
}

test("a disk that is full, read-only or broken is told as one, whoever found out", (t) => {
  for (const [code, why] of [
    ["ENOSPC", "there is no space left on it"],
    ["EROFS", "it is read-only"],
    ["EIO", "the disk does not work"],
  ] as const) {
    const { code: kind, message } = errorOf(Object.assign(new Error(`${code}: write`), { code }));
    assert.deepEqual([kind, message], ["unavailable", `the state folder cannot be written: ${why}`]);
  }
  const database = new DatabaseSync(join(tempFolder(t), "full.sqlite"));
  t.after(() => database.close());
  database.exec("CREATE TABLE t (x TEXT); PRAGMA max_page_count = 2;");
  const full = errorOf(thrownBy(() => database.prepare("INSERT INTO t VALUES (?)").run("x".repeat(100_000))));
  assert.deepEqual([full.code, full.message], ["unavailable", "the state folder cannot be written: there is no space left on it"]);
});

test("every other failure stays what it is", () => {
  const known = new AppError("not-found", "there is none");
  assert.equal(errorOf(known), known);
  for (const thrown of [new TypeError("x is not a function"), Object.assign(new Error("gone"), { code: "ENOENT" }), "text"])
    assert.equal(errorOf(thrown).code, "internal");
});
