/** An agent that has nothing of its control plane but an address, a root certificate and a token. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { callAdmin } from "../../src/cli/admin-client.ts";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import { GarrisonProcess, garrison } from "./garrison.ts";
import { CLIENT, meshFiles, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

const IDENTITY = "spiffe://cluster.local/ns/shop/sa/client";

/** A machine: a folder with the root certificate of the control plane, and nothing else of it. */
class Machine {
  readonly folder: string;
  readonly #place: Place;

  constructor(place: Place, name: string) {
    this.#place = place;
    this.folder = join(place.folder, name);
    mkdirSync(this.folder);
    copyFileSync(place.controlPlane().rootCertificate, join(this.folder, "root-cert.pem"));
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** The options by which an agent here finds the control plane. */
  get flags(): readonly string[] {
    const { host, port } = this.#place.controlPlane();
    return [
      "--control-plane",
      `${host}:${port}`,
      "--root-ca",
      this.path("root-cert.pem"),
      "--state",
      this.path("state"),
      "--proxy",
      "none",
    ];
  }

  start(args: readonly string[], rest: readonly string[] = []): GarrisonProcess {
    return new GarrisonProcess(this.#place, [...args, ...this.flags, ...(rest.length === 0 ? [] : ["--", ...rest])]);
  }

  agentSocket(workload = CLIENT): string {
    return join(this.path("state"), "run", workload.replace("/", "."), "agent.sock");
  }
}

async function served(t: ConstructorParameters<typeof Place>[0], listen?: string): Promise<Place> {
  const place = new Place(t, meshFiles(UNUSED_PORTS));
  await place.serve(listen);
  return place;
}

async function joinToken(place: Place, ...args: readonly string[]): Promise<string> {
  const { exit, stdout, stderr } = await place.run("token", "join", ...args);
  assert.equal(exit, 0, stderr);
  return stdout.trim();
}

describe("a workload on another machine", { timeout: 180_000 }, () => {
  test("joins with a token for one use, learns who it is, and renews with its certificate", async (t) => {
    const place = await served(t);
    const machine = new Machine(place, "other");
    const token = await joinToken(place, "--workload", CLIENT, "--ttl", "60");
    const agent = machine.start(
      ["run", "--join-token", token],
      ["sh", "-c", 'echo "at work"; env | grep ^SERVER_SERVICE_PORT=; exec sleep 1000'],
    );
    await agent.line(/^at work$/);
    await agent.line(new RegExp(`^SERVER_SERVICE_PORT=${UNUSED_PORTS.outbound}$`));
    const first = (await callAdmin(machine.agentSocket(), "GET", "/status")) as {
      readonly identity: string;
      readonly certificate: { readonly serial: string };
    };
    assert.equal(first.identity, IDENTITY);
    const { serial } = (await callAdmin(machine.agentSocket(), "POST", "/renew")) as { readonly serial: string };
    assert.notEqual(serial, first.certificate.serial);
    assert.deepEqual(
      readdirSync(join(machine.path("state"), "run", "shop.client")).filter((name) => name.endsWith(".pem")),
      [],
    );

    const second = new Machine(place, "thief").start(["agent", "--join-token", token]);
    assert.equal(await second.ended, 4);
    assert.match(second.output, /the join token was refused: already used/);
    const { stdout } = await place.run("token", "list");
    assert.match(stdout, /^[0-9a-f]{12} {2}shop\/client {2}used \S+Z\n$/);
    assert.equal(stdout.includes(token.slice(5, 17)), false);
  });

  test("gets one certificate of one token, however many ask at once", async (t) => {
    const place = await served(t);
    const token = await joinToken(place, "--service-account", "shop/client");
    const agents = ["a", "b", "c", "d"].map((name) =>
      new Machine(place, name).start(["agent", "--workload", CLIENT, "--join-token", token]),
    );
    await until("all but one have been refused", () => agents.every(({ output }) => /certificate received|already used/.test(output)));
    assert.equal(agents.filter(({ output }) => output.includes("certificate received")).length, 1);
  });

  test("starts again with the files of its certificate, of which the key is the certificate's own, and without a token", async (t) => {
    const place = await served(t);
    const machine = new Machine(place, "other");
    const output = ["--output-certs", machine.path("certs")];
    const token = await joinToken(place, "--workload", CLIENT);
    const pidFile = machine.path("pid");
    const first = machine.start(
      ["run", "--join-token", token, ...output, "--renew-signal", "USR1", "--renew-pid-file", pidFile],
      ["sh", "-c", `trap 'echo "told of it"' USR1; echo $$ > ${pidFile}; echo "at work"; while :; do sleep 0.1; done`],
    );
    await first.line(/^at work$/);
    const pem = (name: string) => readFileSync(join(machine.path("certs"), name), "utf8");
    const before = pem("cert-chain.pem");
    await callAdmin(machine.agentSocket(), "POST", "/renew");
    await first.line(/^told of it$/);
    assert.notEqual(pem("cert-chain.pem"), before);
    const openssl = (...args: readonly string[]) => execFileSync("openssl", args, { encoding: "utf8", cwd: machine.path("certs") });
    assert.match(openssl("verify", "-x509_strict", "-CAfile", "root-cert.pem", "cert-chain.pem"), /: OK/);
    assert.equal(openssl("pkey", "-in", "key.pem", "-pubout"), openssl("x509", "-in", "cert-chain.pem", "-noout", "-pubkey"));
    await first.stop();

    const second = machine.start(["agent", ...output]);
    await second.line(/certificate of an earlier run taken up/);
    await callAdmin(machine.agentSocket(), "POST", "/renew");
    assert.equal(await second.stop(), 0);
    rmSync(machine.path("certs"), { recursive: true });
    const third = machine.start(["agent", ...output]);
    await third.line(/does not say yet who this workload is/);
    assert.equal(await third.stop(), 0);
  });

  test("waits for a control plane that is away, and takes the token that is in the file then", async (t) => {
    const listen = `127.0.0.1:${await pickPort()}`;
    const place = new Place(t, meshFiles(UNUSED_PORTS));
    const first = await place.serve(listen);
    const machine = new Machine(place, "other");
    await first.stop();
    writeFileSync(machine.path("token"), "not.a.token");
    const agent = machine.start(["agent", "--workload", CLIENT, "--token-file", machine.path("token")]);
    await agent.line(/does not say yet who this workload is.*cannot reach the control plane/);
    await place.serve(listen);
    await agent.line(/does not say yet who this workload is.*the token was refused: malformed/);
    const { stdout } = await place.run("token", "shop/client");
    writeFileSync(machine.path("token"), stdout);
    await agent.line(/certificate received/);
  });

  test("is told what is wrong with its command line, its token, and the control plane that it meets", async (t) => {
    const place = await served(t);
    const machine = new Machine(place, "other");
    const run = (...args: readonly string[]) => garrison(["agent", ...machine.flags, ...args]);
    const none = await run();
    assert.deepEqual([none.exit, /^garrison: how does this workload prove who it is\?\n/.test(none.stderr)], [2, true]);
    const both = await run("--join-token", "join-x", "--token-file", "x");
    assert.deepEqual([both.exit, /which token is it/.test(both.stderr)], [2, true]);
    const token = await joinToken(place, "--service-account", "shop/client");
    const others = await run("--join-token", token, "--workload", "shop/server");
    assert.deepEqual([others.exit, /is not the identity of a workload `shop\/server`/.test(others.stderr)], [4, true]);
    const unknown = await run("--join-token", `join-${"A".repeat(43)}`);
    assert.deepEqual(
      [unknown.exit, /the join token was refused: unknown[\s\S]*help: make another by `garrison token join`/.test(unknown.stderr)],
      [4, true],
    );
    const bare = await garrison(["agent"]);
    assert.deepEqual([bare.exit, bare.stderr], [2, "garrison: `--control-plane` is needed\n  help: see the command's `--help`\n"]);
    const local = await garrison(["run", "--workload", CLIENT, "--join-token", token, "--state", place.state]);
    assert.deepEqual([local.exit, /`--join-token` is for a control plane on another machine/.test(local.stderr)], [2, true]);
    const stranger = machine.start(["agent", "--join-token", token, "--trust-domain", "other.org"]);
    await stranger.line(/the server is `spiffe:\/\/cluster\.local\/ns\/istio-system\/sa\/garrison` and not the control plane/);
    const missing = await place.run("token", "join", "--workload", "shop/none");
    assert.deepEqual([missing.exit, /the configuration has no workload `shop\/none`/.test(missing.stderr)], [4, true]);
    // None of these used it up.
    const agent = machine.start(["agent", "--join-token", token]);
    await agent.line(/certificate received/);
  });
});
