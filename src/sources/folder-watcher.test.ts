import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { describe, it, type TestContext } from "node:test";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import { silentLogger } from "../core/logger.ts";
import { type FolderWatcher, watchFolder } from "./folder-watcher.ts";
import type { ConfigurationSnapshot } from "./snapshot.ts";

/** The bound on waiting for anything; only a failing test waits that long. */
const PATIENCE_MS = 20_000;

function policy(name: string, path: string): string {
  return `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}}\nspec: {action: DENY, rules: [{to: [{operation: {paths: ["${path}"]}}]}]}\n`;
}

/** `NAME PATH` of every policy in force. */
function inForce({ objects }: ConfigurationSnapshot): string {
  const words = objects.map((object) => {
    const rules = object.kind === "AuthorizationPolicy" && object.rules !== "invalid" ? object.rules : [];
    const paths = rules.flatMap(({ to }) =>
      to.flat().flatMap(({ values }) => values.map((value) => ("value" in value ? value.value : ""))),
    );
    return `${object.meta.name} ${paths.join(" ")}`;
  });
  return words.join(", ");
}

class Observer {
  readonly snapshots: ConfigurationSnapshot[] = [];
  readonly #emitter = new EventTarget();

  readonly onSnapshot = (snapshot: ConfigurationSnapshot): void => {
    this.snapshots.push(snapshot);
    this.#emitter.dispatchEvent(new Event("snapshot"));
  };

  get last(): ConfigurationSnapshot {
    const last = this.snapshots.at(-1);
    assert.ok(last);
    return last;
  }

  /** Waits until the last snapshot has what is asked for. */
  async until(wanted: string, read: (snapshot: ConfigurationSnapshot) => string = inForce): Promise<void> {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    while (read(this.last) !== wanted) {
      await once(this.#emitter, "snapshot", { signal }).catch(() => assert.equal(read(this.last), wanted));
    }
  }
}

/** Without `pollMs`, only the system's events can tell it anything. */
async function start(
  test: TestContext,
  folder: string,
  pollMs = 1e9,
): Promise<{ readonly observer: Observer; readonly watcher: FolderWatcher }> {
  const observer = new Observer();
  const watcher = await watchFolder({ folder, logger: silentLogger, pollMs, onSnapshot: observer.onSnapshot });
  test.after(() => watcher.close());
  return { observer, watcher };
}

function codes({ diagnostics }: ConfigurationSnapshot): string {
  return diagnostics.map(({ code }) => code).join(" ");
}

describe("watchFolder", () => {
  it("tells the first snapshot before it resolves", async (test) => {
    const { observer, watcher } = await start(test, tempFolder(test, { "a.yaml": policy("a", "/1") }));
    assert.deepEqual(observer.snapshots.map(inForce), ["a /1"]);
    assert.deepEqual(watcher.current, observer.last);
  });

  it("tells a file that is written in place", async (test) => {
    const folder = tempFolder(test, { "a.yaml": policy("a", "/1") });
    const { observer } = await start(test, folder);
    writeFileSync(join(folder, "a.yaml"), policy("a", "/2"));
    await observer.until("a /2");
  });

  it("tells a file that an editor replaces by a new one", async (test) => {
    const folder = tempFolder(test, { "a.yaml": policy("a", "/1") });
    const { observer } = await start(test, folder);
    for (const path of ["/2", "/3"]) {
      writeFileSync(join(folder, ".a.yaml.tmp"), policy("a", path));
      renameSync(join(folder, ".a.yaml.tmp"), join(folder, "a.yaml"));
      await observer.until(`a ${path}`);
    }
    assert.deepEqual(observer.snapshots.map(inForce), ["a /1", "a /2", "a /3"]);
  });

  it("keeps what is in force while an editor moves the old file away before it writes the new one", async (test) => {
    const folder = tempFolder(test, { "a.yaml": policy("a", "/1") });
    const { observer, watcher } = await start(test, folder);
    renameSync(join(folder, "a.yaml"), join(folder, "a.yaml~"));
    await leaving(watcher);
    writeFileSync(join(folder, "a.yaml"), policy("a", "/2"));
    unlinkSync(join(folder, "a.yaml~"));
    await observer.until("a /2");
    assert.deepEqual(observer.snapshots.map(inForce), ["a /1", "a /2"]);
  });

  it("keeps what is in force while a file is empty before it is written", async (test) => {
    const folder = tempFolder(test, { "a.yaml": policy("a", "/1") });
    const { observer, watcher } = await start(test, folder);
    writeFileSync(join(folder, "a.yaml"), "");
    await leaving(watcher);
    writeFileSync(join(folder, "a.yaml"), policy("a", "/2"));
    await observer.until("a /2");
    assert.deepEqual(observer.snapshots.map(inForce), ["a /1", "a /2"]);
  });

  it("keeps what is in force while a file is written by halves, and says so meanwhile", async (test) => {
    const folder = tempFolder(test, { "a.yaml": policy("a", "/1") });
    const { observer } = await start(test, folder);
    const whole = policy("a", "/2");
    writeFileSync(join(folder, "a.yaml"), whole.slice(0, whole.indexOf("/2")));
    await observer.until("GAR0001", codes);
    assert.equal(inForce(observer.last), "a /1");
    writeFileSync(join(folder, "a.yaml"), whole);
    await observer.until("a /2");
    assert.equal(codes(observer.last), "");
  });

  it("tells a file that is deleted", async (test) => {
    const folder = tempFolder(test, { "a.yaml": policy("a", "/1"), "b.yaml": policy("b", "/1") });
    const { observer } = await start(test, folder);
    unlinkSync(join(folder, "a.yaml"));
    await observer.until("b /1");
  });

  it("tells a file in a folder that is made later, and one in a folder within that", async (test) => {
    const folder = tempFolder(test);
    const { observer } = await start(test, folder);
    mkdirSync(join(folder, "x"));
    writeFileSync(join(folder, "x", "a.yaml"), policy("a", "/1"));
    await observer.until("a /1");
    mkdirSync(join(folder, "x", "y"));
    writeFileSync(join(folder, "x", "y", "b.yaml"), policy("b", "/1"));
    await observer.until("a /1, b /1");
    writeFileSync(join(folder, "x", "y", "b.yaml"), policy("b", "/2"));
    await observer.until("a /1, b /2");
  });

  it("tells a folder that is replaced by another of its name", async (test) => {
    const folder = tempFolder(test, { "x/a.yaml": policy("a", "/1"), ".new/a.yaml": policy("a", "/2") });
    const { observer } = await start(test, folder);
    renameSync(join(folder, "x"), join(folder, ".old"));
    renameSync(join(folder, ".new"), join(folder, "x"));
    await observer.until("a /2");
    writeFileSync(join(folder, "x", "a.yaml"), policy("a", "/3"));
    await observer.until("a /3");
  });

  it("tells a swap of `..data`, as Kubernetes changes a mounted ConfigMap", async (test) => {
    const folder = tempFolder(test, { "..1/a.yaml": policy("a", "/1"), "..2/a.yaml": policy("a", "/2") });
    symlinkSync("..1", join(folder, "..data"));
    symlinkSync("..data/a.yaml", join(folder, "a.yaml"));
    const { observer } = await start(test, folder);
    symlinkSync("..2", join(folder, "..data_tmp"));
    renameSync(join(folder, "..data_tmp"), join(folder, "..data"));
    rmSync(join(folder, "..1"), { recursive: true });
    await observer.until("a /2");
  });

  it("tells a swap of the link by which the folder itself is named", async (test) => {
    const parent = tempFolder(test, { "1/a.yaml": policy("a", "/1"), "2/a.yaml": policy("a", "/2") });
    symlinkSync("1", join(parent, "current"));
    const { observer } = await start(test, join(parent, "current"));
    symlinkSync("2", join(parent, "next"));
    renameSync(join(parent, "next"), join(parent, "current"));
    await observer.until("a /2");
    writeFileSync(join(parent, "2", "a.yaml"), policy("a", "/3"));
    await observer.until("a /3");
  });

  it("takes up a folder that appears later, and keeps what is in force when it disappears", async (test) => {
    const parent = tempFolder(test);
    const folder = join(parent, "mesh");
    const { observer } = await start(test, folder);
    assert.equal(codes(observer.last), "GAR0010");
    mkdirSync(folder);
    writeFileSync(join(folder, "a.yaml"), policy("a", "/1"));
    await observer.until("a /1");
    rmSync(folder, { recursive: true });
    await observer.until("GAR0010", codes);
    assert.equal(inForce(observer.last), "a /1");
  });

  it("tells two files that define one object, and when that ends", async (test) => {
    const folder = tempFolder(test, { "a.yaml": policy("a", "/1") });
    const { observer } = await start(test, folder);
    writeFileSync(join(folder, "b.yaml"), policy("a", "/2"));
    await observer.until("GAR0008", codes);
    assert.equal(inForce(observer.last), "a /1");
    unlinkSync(join(folder, "a.yaml"));
    await observer.until("a /2");
    assert.equal(codes(observer.last), "");
  });

  it("keeps what is in force when a file can no longer be read", async (test) => {
    const folder = tempFolder(test, { "a.yaml": policy("a", "/1") });
    const { observer } = await start(test, folder);
    symlinkSync("a.yaml", join(folder, ".loop"));
    renameSync(join(folder, ".loop"), join(folder, "a.yaml"));
    await observer.until("GAR0010", codes);
    assert.equal(inForce(observer.last), "a /1");
  });

  it("looks from time to time, for what no event tells: an edit behind a link out of the folder", async (test) => {
    const elsewhere = tempFolder(test, { "a.txt": policy("a", "/1") });
    const folder = tempFolder(test);
    symlinkSync(join(elsewhere, "a.txt"), join(folder, "a.yaml"));
    const { observer } = await start(test, folder, 20);
    writeFileSync(join(elsewhere, "a.txt"), policy("a", "/2"));
    await observer.until("a /2");
  });

  it("batches a storm of edits, and ends with the last of them", async (test) => {
    const folder = tempFolder(test, { "a.yaml": policy("a", "/0") });
    const { observer } = await start(test, folder);
    const began = performance.now();
    for (let edit = 1; edit <= 200; edit++) await writeFile(join(folder, "a.yaml"), policy("a", `/${edit}`));
    await observer.until("a /200");
    const readings = 3 + (performance.now() - began) / 50;
    assert.ok(observer.snapshots.length <= readings, `${observer.snapshots.length} snapshots, at most ${readings}`);
    // A file that is read between being emptied and being written holds nothing, which is no older edit.
    const texts = observer.snapshots.map(inForce).filter((text) => text !== "");
    const order = texts.map((text) => Number(text.slice(3)));
    assert.deepEqual(
      order,
      [...order].sort((left, right) => left - right),
    );
  });

  it("tells nothing when a file is written with what it already says", async (test) => {
    const folder = tempFolder(test, { "a.yaml": policy("a", "/1"), "b.yaml": policy("b", "/1") });
    const { observer } = await start(test, folder);
    writeFileSync(join(folder, "a.yaml"), policy("a", "/1"));
    writeFileSync(join(folder, "c.txt"), "not ours");
    await observer.until("a /1, b /1");
    writeFileSync(join(folder, "b.yaml"), policy("b", "/2"));
    await observer.until("a /1, b /2");
    assert.equal(observer.snapshots.length, 2);
  });

  it("goes on after a listener has thrown", async (test) => {
    const folder = tempFolder(test, { "a.yaml": policy("a", "/1") });
    const observer = new Observer();
    const logged: string[] = [];
    const onSnapshot = (snapshot: ConfigurationSnapshot): void => {
      observer.onSnapshot(snapshot);
      throw new Error("out of order");
    };
    const watcher = await watchFolder({
      folder,
      onSnapshot,
      logger: { log: (level, message, fields) => logged.push(`${level} ${message} ${fields?.reason}`) },
    });
    test.after(() => watcher.close());
    writeFileSync(join(folder, "a.yaml"), policy("a", "/2"));
    await observer.until("a /2");
    assert.deepEqual(logged, Array(2).fill("error a configuration could not be put in force out of order"));
  });

  it("tells nothing after it is closed", async (test) => {
    const folder = tempFolder(test, { "a.yaml": policy("a", "/1") });
    const first = await start(test, folder);
    const second = await start(test, folder);
    writeFileSync(join(folder, "a.yaml"), policy("a", "/2"));
    await first.watcher.close();
    await first.watcher.close();
    await second.observer.until("a /2");
    assert.equal(first.observer.snapshots.length, 1);
  });
});

/** Waits until a removal is noticed; the caller has until its confirmation to undo it, without giving up the thread. */
async function leaving(watcher: FolderWatcher): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!watcher.current.statuses.some(({ state }) => state === "leaving")) {
    assert.ok(performance.now() < deadline, "the removal is noticed");
    await new Promise((resolve) => setImmediate(resolve));
  }
}
