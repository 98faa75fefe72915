import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { ensurePrivateFolder, readPrivateFile, writePrivateFile, writePrivateFolder } from "./state-files.ts";

let folder = "";
const path = (name: string) => join(folder, name);
const modeOf = (name: string) => statSync(path(name)).mode & 0o777;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "state-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("ensurePrivateFolder()", () => {
  test("makes a folder of mode 0700 and takes it again", () => {
    ensurePrivateFolder(path("a/b"));
    ensurePrivateFolder(path("a/b"));
    assert.equal(modeOf("a/b"), 0o700);
  });

  test("refuses a folder that others may read, and says what to do", () => {
    mkdirSync(path("open"));
    chmodSync(path("open"), 0o755);
    assert.throws(() => ensurePrivateFolder(path("open")), {
      name: "AppError",
      code: "unsafe-permissions",
      message: `\`${path("open")}\` can be used by others (mode 0755)`,
      help: `chmod 0700 ${path("open")}`,
    });
  });

  test("refuses a folder that another user owns", () => {
    const { getuid } = process;
    process.getuid = () => 4242;
    try {
      assert.throws(() => ensurePrivateFolder(folder), {
        code: "unsafe-permissions",
        message: /belongs to user \d+, and this process is user 4242/,
      });
    } finally {
      Object.assign(process, { getuid });
    }
  });

  test("refuses a link and a file in the folder's place", () => {
    symlinkSync(folder, path("link"));
    assert.throws(() => ensurePrivateFolder(path("link")), { code: "unsafe-permissions", message: /but a link/ });
    writeFileSync(path("file"), "");
    assert.throws(() => ensurePrivateFolder(path("file")), { code: "invalid-configuration" });
  });
});

describe("readPrivateFile()", () => {
  test("tells a missing file from one that cannot be read", () => {
    assert.equal(readPrivateFile(path("none")), undefined);
    assert.throws(() => readPrivateFile(folder), { code: "invalid-configuration" });
  });

  test("refuses files that others may read, links, and giants", () => {
    writeFileSync(path("open"), "key", { mode: 0o644 });
    assert.throws(() => readPrivateFile(path("open")), { code: "unsafe-permissions", help: `chmod 0600 ${path("open")}` });
    writePrivateFile(path("good"), "key");
    symlinkSync(path("good"), path("link"));
    assert.throws(() => readPrivateFile(path("link")), { code: "invalid-configuration", message: /cannot be read/ });
    writeFileSync(path("giant"), Buffer.alloc(256 * 1024 + 1), { mode: 0o600 });
    assert.throws(() => readPrivateFile(path("giant")), { code: "invalid-configuration", message: /at most 262144 bytes/ });
  });
});

describe("writePrivateFile()", () => {
  test("puts the whole file in place with mode 0600 and leaves nothing beside it", () => {
    writePrivateFile(path("key"), "text");
    assert.equal(readPrivateFile(path("key")), "text");
    assert.equal(modeOf("key"), 0o600);
    assert.deepEqual(readdirSync(folder), ["key"]);
  });

  test("never replaces a file", () => {
    writePrivateFile(path("key"), "first");
    assert.throws(() => writePrivateFile(path("key"), "second"), { code: "already-exists" });
    assert.equal(readFileSync(path("key"), "utf8"), "first");
    assert.deepEqual(readdirSync(folder), ["key"]);
  });

  test("starts anew after a crash left a half-written file", () => {
    writeFileSync(path("key.new"), "ha");
    writePrivateFile(path("key"), "whole");
    assert.equal(readPrivateFile(path("key")), "whole");
  });
});

describe("writePrivateFolder()", () => {
  test("puts all files in place at once, also over an empty folder and after a crash", () => {
    mkdirSync(path("ca"), { mode: 0o700 });
    mkdirSync(path("ca.new"));
    writeFileSync(path("ca.new/a"), "half");
    writePrivateFolder(path("ca"), { a: "1", b: "2" });
    assert.deepEqual(readdirSync(path("ca")).sort(), ["a", "b"]);
    assert.deepEqual([modeOf("ca"), modeOf("ca/a"), modeOf("ca/b")], [0o700, 0o600, 0o600]);
    assert.equal(existsSync(path("ca.new")), false);
  });

  test("never replaces a folder that has files", () => {
    writePrivateFolder(path("ca"), { a: "1" });
    assert.throws(() => writePrivateFolder(path("ca"), { a: "2" }), { code: "already-exists" });
    assert.equal(readPrivateFile(path("ca/a")), "1");
    assert.deepEqual(readdirSync(folder), ["ca"]);
  });
});

describe("replacePrivateFile()", () => {
  /** As on a disk that is about to be full: `write` takes a part at first, and refuses the rest. */
  const LIMITED = `process.on("SIGXFSZ", () => undefined);
    const { replacePrivateFile } = await import(process.argv[1]);
    try { replacePrivateFile(process.argv[2], "x".repeat(100_000)); } catch (error) { console.log(error.code); }`;

  test("keeps the file of before where only a part of the new one can be written", () => {
    writeFileSync(path("key"), "before", { mode: 0o600 });
    const module = join(import.meta.dirname, "state-files.ts");
    const node = [process.execPath, "--input-type=module", "--eval", LIMITED, module, path("key")];
    const { stdout, stderr } = spawnSync("sh", ["-c", 'ulimit -f 64 && exec "$@"', "sh", ...node], { encoding: "utf8" });
    assert.equal(stdout, "EFBIG\n", stderr);
    assert.equal(readFileSync(path("key"), "utf8"), "before");
  });
});
