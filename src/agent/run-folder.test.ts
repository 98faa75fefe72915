import assert from "node:assert/strict";
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { cannotListen, claimSocket, openRunFolder, socketPath, writePrivateFile } from "./run-folder.ts";

let parent: string;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "garrison-run-"));
});
afterEach(() => rmSync(parent, { recursive: true }));

describe("the run folder", () => {
  it("is made for its user alone", () => {
    const folder = openRunFolder(join(parent, "a", "b"));
    assert.equal(statSync(folder).mode & 0o777, 0o700);
  });

  it("is refused when others may enter, with what to do", () => {
    const folder = join(parent, "open");
    mkdirSync(folder);
    chmodSync(folder, 0o755);
    assert.throws(() => openRunFolder(folder), { code: "unsafe-permissions", help: new RegExp(`chmod 700 ${folder}`) });
  });

  it("is refused when it is a file, or a link to elsewhere", () => {
    const file = join(parent, "file");
    writeFileSync(file, "");
    assert.throws(() => openRunFolder(join(file, "inside")), { code: "invalid-argument" });
    assert.throws(() => openRunFolder(file), { code: "invalid-argument" });
    symlinkSync(parent, join(parent, "link"));
    assert.throws(() => openRunFolder(join(parent, "link")), { code: "invalid-argument" });
  });

  it("has room for socket paths up to the system's limit, counted in bytes", () => {
    const limit = process.platform === "linux" ? 107 : 103;
    const folder = "/tmp/";
    assert.equal(socketPath(folder, "x".repeat(limit - folder.length)).length, limit);
    assert.throws(() => socketPath(folder, "x".repeat(limit - folder.length + 1)), { code: "invalid-argument", help: /shorter path/ });
    assert.throws(() => socketPath(folder, "ü".repeat(limit - folder.length - 10)), { code: "invalid-argument" });
  });
});

describe("a socket's place", () => {
  it("is free when nothing is there, or what a dead process left", async () => {
    const path = join(parent, "stale.sock");
    await claimSocket(path);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    // Gone without cleaning up: the file stays, and nobody answers.
    const stale = join(parent, "kept.sock");
    linkSync(path, stale);
    await new Promise((resolve) => server.close(resolve));
    await claimSocket(stale);
    assert.deepEqual(readdirSync(parent), []);
  });

  it("is taken when a living process serves it, or something else lies there", async () => {
    const path = join(parent, "alive.sock");
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    await assert.rejects(claimSocket(path), { code: "address-in-use" });
    await new Promise((resolve) => server.close(resolve));
    writeFileSync(path, "a file");
    await assert.rejects(claimSocket(path), { code: "address-in-use" });
    assert.equal(readFileSync(path, "utf8"), "a file");
  });
});

describe("a private file", () => {
  it("is replaced as a whole and readable by its user alone", () => {
    const path = join(parent, "envoy.json");
    writePrivateFile(path, "old and longer");
    chmodSync(path, 0o644);
    writePrivateFile(path, "new");
    assert.equal(readFileSync(path, "utf8"), "new");
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.deepEqual(readdirSync(parent), ["envoy.json"]);
  });
});

describe("a socket that cannot be made", () => {
  it("is told with the system's reason, out of whatever words gRPC puts it into", () => {
    const { code, message, help } = cannotListen(
      "/run/spiffe/api.sock",
      new Error("No address added out of total 1 resolved errors: [listen EACCES: permission denied /run/spiffe/api.sock]"),
    );
    assert.deepEqual([code, message], ["unavailable", "cannot listen at `/run/spiffe/api.sock`: EACCES"]);
    assert.equal(help, "may this user make a socket in `/run/spiffe`?");
  });
});
