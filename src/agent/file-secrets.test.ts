import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { ManualClock } from "../../test/fakes/manual-clock.ts";
import { until } from "../../test/fakes/processes.ts";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { secretText } from "../../test/fakes/sds-client.ts";
import { SecretSchema } from "../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import { FileSecrets } from "./file-secrets.ts";
import { SecretStore } from "./secrets.ts";
import { systemTimers } from "./timers.ts";

const IDENTITY = "spiffe://cluster.local/ns/shop/sa/client";
const ca = new FakeCa();

let folder: string;
let logger: RecordingLogger;
let files: FileSecrets;
let changes: number;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "garrison-files-"));
  mkdirSync(join(folder, "tls"));
  logger = new RecordingLogger();
  changes = 0;
  files = open(systemTimers);
});
afterEach(() => {
  files.close();
  rmSync(folder, { recursive: true });
});

function open(timers: ConstructorParameters<typeof FileSecrets>[0]["timers"]): FileSecrets {
  const opened = new FileSecrets({ folders: [join(folder, "tls")], timers, logger });
  opened.subscribe(() => {
    changes += 1;
  });
  return opened;
}

/** A new certificate with its key, written into a folder. */
function write(to: string): { readonly chain: string; readonly key: string } {
  const { chain, key } = ca.material("spiffe://cluster.local/ns/shop/sa/db");
  mkdirSync(to, { recursive: true });
  writeFileSync(join(to, "tls.crt"), chain);
  writeFileSync(join(to, "tls.key"), key);
  return { chain, key };
}

const nameOf = (name = "tls") => `file-cert:${join(folder, name, "tls.crt")}~${join(folder, name, "tls.key")}`;
const textOf = (name: string) => secretText(fromBinary(SecretSchema, files.get(name)?.body ?? new Uint8Array()));

describe("certificates of files", () => {
  it("that are no files are refused and wait for nobody: a pipe has no end until somebody writes to it", () => {
    const pipe = join(folder, "tls", "pipe.pem");
    execFileSync("mkfifo", [pipe]);
    assert.throws(() => files.open(`file-root:${pipe}`), { code: "invalid-argument", message: /is not a file of at most/ });
  });

  it("are served under the whole name, and roots as what to verify with", () => {
    const written = write(join(folder, "tls"));
    files.open(nameOf());
    assert.deepEqual(textOf(nameOf()), { chain: written.chain, key: written.key });
    const root = `file-root:${join(folder, "tls", "ca.crt")}`;
    writeFileSync(join(folder, "tls", "ca.crt"), ca.rootPem);
    files.open(root);
    assert.deepEqual(textOf(root), { roots: ca.rootPem });
    assert.equal(fromBinary(SecretSchema, files.get(root)?.body ?? new Uint8Array()).name, root);
  });

  it("are served anew when Kubernetes swaps `..data`", async () => {
    const mount = join(folder, "tls");
    const first = write(join(mount, "..2026_01"));
    symlinkSync("..2026_01", join(mount, "..data"));
    for (const name of ["tls.crt", "tls.key"]) symlinkSync(`..data/${name}`, join(mount, name));
    files.open(nameOf());
    assert.equal(textOf(nameOf()).chain, first.chain);
    const second = write(join(mount, "..2026_02"));
    symlinkSync("..2026_02", join(mount, "..data_tmp"));
    renameSync(join(mount, "..data_tmp"), join(mount, "..data"));
    await until("the new certificate is there", () => textOf(nameOf()).chain === second.chain);
    assert.deepEqual([textOf(nameOf()).key, changes], [second.key, 1]);
  });

  it("are served anew when they are rewritten, and never with another's key meanwhile", async () => {
    write(join(folder, "tls"));
    files.open(nameOf());
    const before = textOf(nameOf());
    const { chain, key } = ca.material(IDENTITY);
    writeFileSync(join(folder, "tls", "tls.crt"), chain);
    await logger.line("changed files are not used, and the last good ones stay");
    assert.deepEqual([textOf(nameOf()), changes], [before, 0]);
    writeFileSync(join(folder, "tls", "tls.key"), key);
    await until("they belong together", () => textOf(nameOf()).chain === chain);
    assert.deepEqual(textOf(nameOf()), { chain, key });
    assert.equal(JSON.stringify(logger.lines).includes("PRIVATE KEY"), false);
  });

  it("stay in force while the files are gone", async () => {
    write(join(folder, "tls"));
    files.open(nameOf());
    const before = textOf(nameOf());
    rmSync(join(folder, "tls", "tls.key"));
    await logger.line("changed files are not used, and the last good ones stay");
    assert.deepEqual(textOf(nameOf()), before);
  });

  it("are looked at every few seconds where the system gives no notice, as of a link further up", async () => {
    const clock = new ManualClock(0);
    files.close();
    files = open(clock);
    const mount = join(folder, "tls");
    write(join(mount, "a"));
    const second = write(join(mount, "b"));
    symlinkSync("a", join(mount, "now"));
    files.open(nameOf("tls/now"));
    symlinkSync("b", join(mount, "new"));
    renameSync(join(mount, "new"), join(mount, "now"));
    await clock.advance(5_000);
    assert.equal(textOf(nameOf("tls/now")).chain, second.chain);
  });
});

describe("names of files", () => {
  const cases: readonly (readonly [what: string, name: () => string, code: string])[] = [
    ["outside of the folders", () => `file-root:${folder}/ca.crt`, "permission-denied"],
    ["with `..`", () => `file-root:${folder}/tls/../ca.crt`, "permission-denied"],
    ["with a double slash", () => `file-root:${folder}/tls//ca.crt`, "permission-denied"],
    ["of a folder whose name begins alike", () => `file-root:${folder}/tls2/ca.crt`, "permission-denied"],
    ["that lead out by a link", () => `file-root:${folder}/tls/out.crt`, "permission-denied"],
    ["of the system's roots", () => "file-root:system", "not-found"],
    ["without a key", () => `file-cert:${folder}/tls/tls.crt`, "not-found"],
    ["with two keys", () => `file-cert:${folder}/tls/tls.crt~${folder}/tls/tls.key~x`, "not-found"],
    ["of a relative path", () => "file-cert:tls.crt~tls.key", "permission-denied"],
    ["that are not there", () => `file-root:${folder}/tls/none.crt`, "not-found"],
    ["that are folders", () => `file-root:${folder}/tls/folder`, "invalid-argument"],
    ["that hold no certificate", () => `file-root:${folder}/tls/tls.key`, "invalid-argument"],
    ["whose key is another's", () => `file-cert:${folder}/tls/tls.crt~${folder}/tls/other.key`, "invalid-argument"],
    ["too large", () => `file-root:${folder}/tls/large.crt`, "invalid-argument"],
  ];
  for (const [what, name, code] of cases) {
    it(`are refused ${what}`, () => {
      const tls = join(folder, "tls");
      write(tls);
      mkdirSync(join(tls, "folder"));
      writeFileSync(join(folder, "ca.crt"), ca.rootPem);
      symlinkSync("../ca.crt", join(tls, "out.crt"));
      writeFileSync(join(tls, "other.key"), ca.material(IDENTITY).key);
      writeFileSync(join(tls, "large.crt"), ca.rootPem.repeat(1_000));
      assert.throws(
        () => files.open(name()),
        (error: { code: string; message: string }) => {
          assert.equal(error.code, code);
          assert.equal(error.message.includes("PRIVATE KEY"), false);
          return true;
        },
      );
      assert.equal(files.get(name()), undefined);
    });
  }

  it("are refused where no folder was allowed, and beyond 32", () => {
    assert.throws(() => new SecretStore(IDENTITY).check(`file-root:${folder}/tls/ca.crt`), { code: "permission-denied" });
    const store = new SecretStore(IDENTITY, files);
    for (let index = 0; index < 32; index++) {
      writeFileSync(join(folder, "tls", `${index}.crt`), ca.rootPem);
      store.check(`file-root:${folder}/tls/${index}.crt`);
    }
    writeFileSync(join(folder, "tls", "more.crt"), ca.rootPem);
    assert.throws(() => store.check(`file-root:${folder}/tls/more.crt`), { code: "resource-exhausted" });
  });
});
