/** What is in the way when a command starts: what it says, how it ends, and that it breaks nothing. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import { garrison } from "./garrison.ts";
import { meshFiles, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

const FILES = meshFiles(UNUSED_PORTS);

/** Runs `garrison serve` where it cannot start. */
function failToServe(place: Place, ...args: readonly string[]) {
  const listen = args.includes("--listen") ? [] : ["--listen", "127.0.0.1:0"];
  return place.run("serve", "--config", place.config, "--log-level", "error", ...listen, ...args);
}

describe("garrison serve", { timeout: 60_000, concurrency: 2 }, () => {
  test("a port in use: says which, and what to do, and leaves who listens there alone", async (t) => {
    const place = new Place(t, FILES);
    const other = createServer((socket) => socket.end("still here")).listen(0, "127.0.0.1");
    t.after(() => other.close());
    await once(other, "listening");
    const where = `127.0.0.1:${(other.address() as AddressInfo).port}`;
    const { exit, stdout, stderr } = await failToServe(place, "--listen", where);
    const help = "end it, or choose another address with --listen HOST:PORT";
    assert.deepEqual({ exit, stdout }, { exit: 4, stdout: "" });
    assert.equal(stderr, `garrison: ${where}: another process listens there already\n  help: ${help}\n`);
    assert.equal(other.listening, true);
    assert.equal(existsSync(join(place.state, "control-plane.json")), false);
  });

  test("an address that this machine does not have", async (t) => {
    const { exit, stderr } = await failToServe(new Place(t, FILES), "--listen", "192.0.2.1:0");
    assert.equal(exit, 4);
    assert.match(stderr, /^garrison: 192\.0\.2\.1:0: this machine has no such address\n {2}help: .*--listen HOST:PORT/);
  });

  test("a state folder that others can read: nothing is written into it, and the command that closes it is told", async (t) => {
    const place = new Place(t, FILES);
    mkdirSync(place.state);
    chmodSync(place.state, 0o755);
    const { exit, stdout, stderr } = await failToServe(place);
    assert.deepEqual({ exit, stdout }, { exit: 4, stdout: "" });
    assert.equal(stderr, `garrison: \`${place.state}\` can be used by others (mode 0755)\n  help: chmod 0700 ${place.state}\n`);
    assert.deepEqual(readdirSync(place.state), []);
  });

  test("a CA key that others can read", async (t) => {
    const place = new Place(t, FILES);
    await (await place.serve()).stop();
    const key = join(place.state, "ca", "ca-key.pem");
    chmodSync(key, 0o640);
    const { exit, stderr } = await failToServe(place);
    assert.equal(exit, 4);
    assert.equal(stderr, `garrison: \`${key}\` can be used by others (mode 0640)\n  help: chmod 0600 ${key}\n`);
  });

  test("a second control plane on one state folder: the first one serves on", async (t) => {
    const place = new Place(t, FILES);
    await place.serve();
    const before = place.controlPlane();
    const { exit, stderr } = await failToServe(place);
    assert.equal(exit, 4);
    assert.match(stderr, /ledger\.sqlite` is in use by another process\n {2}help: stop the other control plane of this state folder\n$/);
    assert.deepEqual(place.controlPlane(), before);
    assert.equal((await place.run("status")).exit, 0);
  });

  test("a state folder of another trust domain: its CA stays as it was", async (t) => {
    const place = new Place(t, FILES);
    await (await place.serve()).stop();
    const root = join(place.state, "ca", "root-cert.pem");
    const before = readFileSync(root, "utf8");
    const { exit, stderr } = await failToServe(place, "--trust-domain", "example.org");
    assert.equal(exit, 3);
    assert.match(stderr, /root-cert\.pem: the CA certificate is not of the trust domain `example\.org`\n {2}help: /);
    assert.equal(readFileSync(root, "utf8"), before);
  });

  test("a folder of YAML that is not there: serves nothing, and says which", async (t) => {
    const place = new Place(t);
    const { exit, stderr } = await place.run("serve", "--config", join(place.config, "later"), "--listen", "127.0.0.1:0");
    assert.equal(exit, 3);
    assert.match(stderr, /later:1:1: error GAR0010: the folder cannot be read: it does not exist/);
  });

  test("a state folder whose path is too long for a socket", async (t) => {
    const place = new Place(t, FILES);
    const state = join(place.folder, "x".repeat(100));
    const { exit, stderr } = await garrison([
      "serve",
      "--config",
      place.config,
      "--state",
      state,
      "--listen",
      "127.0.0.1:0",
      "--log-level",
      "error",
    ]);
    assert.equal(exit, 2);
    assert.match(
      stderr,
      /admin\.sock: the path of the admin socket has \d+ bytes, which is too long for the system\n {2}help: .*shorter path/,
    );
  });

  test("SIGTERM ends it with 0, and the next one takes the state folder over", async (t) => {
    const place = new Place(t, FILES);
    const first = await place.serve();
    assert.equal(await first.stop(), 0);
    assert.match(first.output, /control plane stopping because=SIGTERM/);
    await place.serve();
  });
});

describe("a command that needs a control plane", { timeout: 60_000 }, () => {
  const COMMANDS = [["status"], ["audit"], ["token", "shop/client"], ["run", "--workload", "shop/client"]];

  test("where none has run: says with which state folder it looked", async (t) => {
    const place = new Place(t);
    for (const command of COMMANDS) {
      const { exit, stdout, stderr } = await place.run(...command);
      const help = "start one with `garrison serve`, or name its state folder with --state";
      assert.deepEqual({ exit, stdout }, { exit: 4, stdout: "" });
      assert.equal(stderr, `garrison: ${place.state}: no control plane has run with this state folder\n  help: ${help}\n`);
    }
  });

  test("where its file is damaged: says which", async (t) => {
    const place = new Place(t);
    mkdirSync(place.state, { mode: 0o700 });
    writeFileSync(join(place.state, "control-plane.json"), "{");
    const { exit, stderr } = await place.run("status");
    assert.equal(exit, 3);
    assert.match(
      stderr,
      /^garrison: \S*control-plane\.json: the file does not describe a control plane\n {2}help: start one with `garrison serve`/,
    );
  });

  test("where it was killed: says that nothing answers", async (t) => {
    const place = new Place(t, FILES);
    await (await place.serve()).kill();
    for (const command of COMMANDS) {
      const { exit, stderr } = await place.run(...command);
      assert.equal(exit, 4);
      assert.match(stderr, /^garrison: \S*admin\.sock: nothing answers on the admin socket\n {2}help: .*start it again/);
    }
  });
});

/** What is typed, and what is said of it. */
const MISTAKES: readonly (readonly [typed: readonly string[], exit: number, told: RegExp])[] = [
  [["srve"], 2, /^garrison: there is no command `srve`\n {2}help: see `garrison --help`\n$/],
  [["serve", "--confg", "mesh"], 2, /^garrison: unknown option '--confg'\n {2}help: see `garrison serve --help`\n$/],
  [["serve", "mesh"], 2, /^garrison: unexpected argument `mesh`\n {2}help: see `garrison serve --help`\n$/],
  [["serve", "--listen", "15012"], 2, /^garrison: `15012` is not an address\n {2}help: write it as HOST:PORT/],
  [["serve", "--trust-domain", "Example Org"], 2, /^garrison: `Example Org` is not a trust domain\n {2}help: /],
  [["serve", "--log-level", "loud"], 2, /^garrison: `loud` is not a log level\n {2}help: it is one of debug, info, warn, error\n$/],
  [["check"], 2, /^garrison: `garrison check` needs FOLDER\n {2}help: name the folder with your YAML, or check a cluster by /],
  [["check", "nowhere"], 4, /^garrison: nowhere: there is no such folder\n {2}help: name the folder with your YAML\n$/],
  [["check", "package.json"], 4, /^garrison: package\.json: it is a file\n {2}help: name the folder that it is in\n$/],
  [["up", "nowhere"], 4, /^garrison: nowhere: there is no such folder\n {2}help: name the folder with your YAML\n$/],
  [["token", "client"], 2, /^garrison: `client` is not a service account\n {2}help: write it as NAMESPACE\/NAME/],
  [["token", "shop/client", "--ttl", "1h"], 2, /^garrison: `--ttl 1h` is not a whole number from 60 to 7776000\n$/],
  [
    ["audit", "--effect", "maybe"],
    2,
    /^garrison: `maybe` is not a value of `effect`: .*\n {2}help: write one of `allow`, `deny`, `refused`, `lost`\n$/,
  ],
  [["audit", "--since", "yesterday"], 2, /^garrison: `yesterday` is not a value of `since`: .*\n {2}help: write `10m` for ten minutes ago/],
];

describe("a command line that is wrong", { timeout: 60_000, concurrency: 2 }, () => {
  for (const [typed, exit, told] of MISTAKES) {
    test(`\`garrison ${typed.join(" ")}\` ends with ${exit} and says why`, async () => {
      const result = await garrison(typed);
      assert.match(result.stderr, told);
      assert.deepEqual({ exit: result.exit, stdout: result.stdout }, { exit, stdout: "" });
    });
  }
});
