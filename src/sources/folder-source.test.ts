import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, renameSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { describe, it } from "node:test";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import { formatDiagnostic } from "../core/diagnostic.ts";
import { FolderSource, readFolder } from "./folder-source.ts";
import type { ConfigurationSnapshot } from "./snapshot.ts";

function account(name: string): string {
  return `apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: ${name}}\n`;
}

function keys({ statuses }: ConfigurationSnapshot): readonly string[] {
  return statuses.map(({ key }) => key);
}

function told({ diagnostics }: ConfigurationSnapshot, folder: string): readonly string[] {
  return diagnostics.map((diagnostic) => formatDiagnostic(diagnostic).replaceAll(`${folder}/`, "").replaceAll(folder, "."));
}

/** Root may read everything, so it becomes nobody for a moment. */
async function asNobody<T>(action: () => Promise<T>): Promise<T> {
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid?.(65_534);
  try {
    return await action();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}

describe("readFolder", () => {
  it("reads every YAML file below the folder, and nothing else", async (test) => {
    const folder = tempFolder(test, {
      "b.yaml": account("b"),
      "a.yml": `${account("a")}---\n${account("a2")}`,
      "deep/er/c.yaml": account("c"),
      "readme.md": "not: [yaml",
      "d.yaml.bak": "not: [yaml",
      ".hidden.yaml": "not: [yaml",
      ".git/e.yaml": "not: [yaml",
      "f.YAML~": "not: [yaml",
    });
    const snapshot = await readFolder(folder);
    assert.deepEqual(
      keys(snapshot),
      ["a", "a2", "b", "c"].map((name) => `ServiceAccount default/${name}`),
    );
    assert.deepEqual(snapshot.diagnostics, []);
    assert.deepEqual(
      new Set(snapshot.objects.map(({ meta }) => relative(folder, meta.place.file))),
      new Set(["a.yml", "b.yaml", "deep/er/c.yaml"]),
    );
  });

  it("reads JSON as YAML: indented with tabs, with places, and keys that come twice refused", async (test) => {
    const written = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "a" } };
    const folder = tempFolder(test, {
      "a.json": JSON.stringify(written, undefined, "\t"),
      "b.json": '{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"b","nmae":"\\u00e9\\/"}}',
      "c.json": '{"kind":"ServiceAccount","kind":"Namespace"}',
      "package.json": '{ "name": "shop", "dependencies": {} }',
    });
    const snapshot = await readFolder(folder);
    assert.deepEqual(
      snapshot.objects.map(({ meta }) => meta.name),
      ["a"],
    );
    assert.deepEqual(
      snapshot.diagnostics.map(({ code, place }) => `${relative(folder, place.file)}:${place.line}:${place.column} ${code}`),
      ["b.json:1:67 GAR0003", "c.json:1:26 GAR0001", "package.json:1:1 GAR0216"],
    );
  });

  it("gives an empty configuration for an empty folder", async (test) => {
    assert.deepEqual(await readFolder(tempFolder(test)), { objects: [], diagnostics: [], statuses: [], hidden: [] });
  });

  it("names both places of an object that two files define, and puts neither in force", async (test) => {
    const folder = tempFolder(test, { "a.yaml": account("x"), "b.yaml": `${account("z")}---\n${account("x")}` });
    const snapshot = await readFolder(folder);
    assert.deepEqual(told(snapshot, folder), [
      "b.yaml:5:1: error GAR0008: ServiceAccount default/x is defined twice: also at a.yaml:1:1\n  help: remove one of them; until then the object does not exist",
    ]);
    assert.deepEqual(
      snapshot.objects.map(({ meta }) => meta.name),
      ["z"],
    );
  });

  it("reads the other files when one is not YAML", async (test) => {
    const folder = tempFolder(test, { "a.yaml": "a: [\n", "b.yaml": account("b") });
    const snapshot = await readFolder(folder);
    assert.deepEqual(keys(snapshot), ["ServiceAccount default/b"]);
    assert.match(
      told(snapshot, folder).join("\n"),
      /^a\.yaml:2:1: error GAR0001: .*\n {2}help: mend it; until then nothing in it is in force$/,
    );
  });

  it("tells of a folder that does not exist", async (test) => {
    const folder = join(tempFolder(test), "missing");
    assert.deepEqual(told(await readFolder(folder), folder), [
      ".:1:1: error GAR0010: the folder cannot be read: it does not exist\n  help: create it, or correct the path or the link that leads there; until then nothing in it is in force",
    ]);
  });

  it("tells of a file where a folder should be", async (test) => {
    const folder = join(tempFolder(test, { file: "" }), "file");
    assert.match(
      told(await readFolder(folder), folder).join("\n"),
      /^\.:1:1: error GAR0010: the folder cannot be read: it is not a folder\n/,
    );
  });

  it("tells of files that cannot be read, each by its reason, and reads the rest", async (test) => {
    const folder = tempFolder(test, { "ok.yaml": account("ok") });
    symlinkSync("loop.yaml", join(folder, "loop.yaml"));
    symlinkSync("nowhere", join(folder, "dangling.yaml"));
    assert.equal(spawnSync("sh", ["-c", 'mkfifo "$0"', join(folder, "pipe.yaml")]).status, 0);
    symlinkSync("/dev/zero", join(folder, "zero.yaml"));
    const snapshot = await readFolder(folder);
    assert.deepEqual(keys(snapshot), ["ServiceAccount default/ok"]);
    assert.deepEqual(
      told(snapshot, folder).map((line) => line.split("\n")[0]),
      [
        "dangling.yaml:1:1: error GAR0010: the file cannot be read: it does not exist",
        "loop.yaml:1:1: error GAR0010: the file cannot be read: its links lead in a circle",
        "pipe.yaml:1:1: error GAR0010: the file cannot be read: it is not a regular file",
        "zero.yaml:1:1: error GAR0010: the file cannot be read: it is not a regular file",
      ],
    );
  });

  it("tells of a file that it may not read", async (test) => {
    const folder = tempFolder(test, { "a.yaml": account("a") });
    chmodSync(join(folder, "a.yaml"), 0);
    chmodSync(folder, 0o755);
    const snapshot = await asNobody(() => readFolder(folder));
    assert.match(told(snapshot, folder).join("\n"), /^a\.yaml:1:1: error GAR0010: the file cannot be read: permission is denied\n/);
  });

  it("refuses a file that is too large, however it is made", async (test) => {
    const folder = tempFolder(test, { "big.yaml": "" });
    truncateSync(join(folder, "big.yaml"), 4 * 1024 * 1024 + 1);
    assert.match(told(await readFolder(folder), folder).join("\n"), /^big\.yaml:1:1: error GAR0009: the file has more than 4 MiB\n/);
  });

  it("refuses a file that is not UTF-8", async (test) => {
    const folder = tempFolder(test);
    writeFileSync(join(folder, "a.yaml"), Buffer.from([0x61, 0x3a, 0x20, 0xff, 0xfe]));
    assert.match(told(await readFolder(folder), folder).join("\n"), /^a\.yaml:1:1: error GAR0001: the file is not YAML: it is not UTF-8\n/);
  });

  it("takes a byte order mark", async (test) => {
    assert.deepEqual(keys(await readFolder(tempFolder(test, { "a.yaml": `\ufeff${account("a")}` }))), ["ServiceAccount default/a"]);
  });

  it("follows links to files and folders, and reads a folder once however often it is linked", async (test) => {
    const other = tempFolder(test, { "a.yaml": account("a"), "sub/b.yaml": account("b") });
    const folder = tempFolder(test);
    symlinkSync(join(other, "a.yaml"), join(folder, "a.yaml"));
    symlinkSync(join(other, "sub"), join(folder, "first"));
    symlinkSync(join(other, "sub"), join(folder, "second"));
    symlinkSync(folder, join(folder, "self"));
    const snapshot = await readFolder(folder);
    assert.deepEqual(keys(snapshot), ["ServiceAccount default/a", "ServiceAccount default/b"]);
    assert.deepEqual(snapshot.diagnostics, []);
  });

  it("reads a folder that Kubernetes mounts from a ConfigMap once", async (test) => {
    const folder = tempFolder(test, { "..2026_01_01/a.yaml": account("a") });
    symlinkSync("..2026_01_01", join(folder, "..data"));
    symlinkSync("..data/a.yaml", join(folder, "a.yaml"));
    assert.deepEqual(await readFolder(folder).then(keys), ["ServiceAccount default/a"]);
  });
});

describe("FolderSource", () => {
  it("decodes a file again only if its content has changed", async (test) => {
    const folder = tempFolder(test, { "a.yaml": account("a"), "b.yaml": account("b") });
    const source = new FolderSource(folder);
    const [firstA, firstB] = (await source.read()).reading.files;
    writeFileSync(join(folder, "a.yaml"), account("c"));
    utimesSync(join(folder, "b.yaml"), new Date(), new Date());
    const [secondA, secondB] = (await source.read()).reading.files;
    assert.notEqual(secondA, firstA);
    assert.equal(secondA?.documents[0]?.key, "ServiceAccount default/c");
    assert.equal(secondB, firstB);
  });

  it("sees a change that leaves size and times as they were, while the file is young", async (test) => {
    const folder = tempFolder(test, { "a.yaml": account("a") });
    const source = new FolderSource(folder);
    await source.read();
    for (const name of ["b", "c", "d", "e"]) {
      writeFileSync(join(folder, "a.yaml"), account(name));
      const [file] = (await source.read()).reading.files;
      assert.equal(file?.documents[0]?.key, `ServiceAccount default/${name}`);
    }
  });

  it("forgets a file that has gone, and reads it anew when it comes back", async (test) => {
    const folder = tempFolder(test, { "a.yaml": account("a") });
    const source = new FolderSource(folder);
    await source.read();
    renameSync(join(folder, "a.yaml"), join(folder, "a.txt"));
    assert.deepEqual((await source.read()).reading.files, []);
    renameSync(join(folder, "a.txt"), join(folder, "a.yaml"));
    assert.equal((await source.read()).reading.files.length, 1);
  });

  it("says nothing of more documents than the limit, but of the files before them", async (test) => {
    const two = `${account("a")}---\n${account("b")}`;
    const folder = tempFolder(test, { "1.yaml": two, "2.yaml": account("c"), "3.yaml": account("d") });
    const { files } = (await new FolderSource(folder, 3).read()).reading;
    assert.deepEqual(
      files.map(({ file, diagnostics }) => [relative(folder, file), diagnostics[0]?.code]),
      [
        ["1.yaml", undefined],
        ["2.yaml", undefined],
        ["3.yaml", "GAR0009"],
      ],
    );
  });
});
