/** The ledger and its log by the command line: what was issued and refused, and the proof of it. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { requestCertificate } from "./caller.ts";
import type { GarrisonProcess } from "./garrison.ts";
import { CLIENT, CLIENT_IDENTITY, meshFiles, SERVER_IDENTITY, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

const place = new Place({ after }, meshFiles(UNUSED_PORTS));
const file = (name: string) => join(place.folder, name);
let serve: GarrisonProcess;
let token: string;
let serial = "";

async function ask(identity: string) {
  return requestCertificate(place.controlPlane(), buildCsr(generateKey(), identity), { token });
}

before(async () => {
  serve = await place.serve();
  token = (await place.run("token", CLIENT)).stdout.trim();
  for (let i = 0; i < 3; i++) {
    const outcome = await ask(CLIENT_IDENTITY);
    assert.ok("answer" in outcome);
    writeFileSync(file("leaf.pem"), outcome.answer[0] ?? "");
  }
  [{ serial } = { serial: "" }] = parseCertificates(readFileSync(file("leaf.pem"), "utf8"));
  await ask(SERVER_IDENTITY);
});

const lines = (text: string) => text.split("\n").filter((line) => line !== "");

describe("garrison ca", { timeout: 60_000 }, () => {
  test("list tells certificates and refusals in the order of time", async () => {
    const { stdout } = await place.run("ca", "list");
    const told = lines(stdout);
    assert.equal(told.length, 5);
    assert.match(
      told[0] ?? "",
      /Z issued {6}[0-9a-f]{32} spiffe:\/\/cluster\.local\/ns\/istio-system\/sa\/garrison by control plane, until /,
    );
    assert.match(told[3] ?? "", new RegExp(`Z issued {6}${serial} ${CLIENT_IDENTITY} by token, until `));
    assert.match(told[4] ?? "", new RegExp(`Z refused {5}${CLIENT_IDENTITY} by token: permission-denied: `));
  });

  test("list finds by identity, serial, caller, time and outcome, also as JSON", async () => {
    const count = async (...flags: readonly string[]) => lines((await place.run("ca", "list", ...flags)).stdout).length;
    assert.equal(await count("--identity", CLIENT), 4);
    assert.equal(await count("--identity", CLIENT_IDENTITY, "--outcome", "issued"), 3);
    assert.equal(await count("--serial", serial.toUpperCase()), 1);
    assert.equal(await count("--caller", "control plane"), 1);
    assert.equal(await count("--outcome", "refused"), 1);
    assert.equal(await count("--since", "2020-01-01T00:00:00Z", "--until", "2020-01-02T00:00:00Z"), 0);
    assert.equal(await count("--limit", "2"), 2);
    const [record] = lines((await place.run("ca", "list", "--serial", serial, "--json")).stdout).map(
      (line) => JSON.parse(line) as Readonly<Record<string, unknown>>,
    );
    assert.deepEqual([record?.kind, record?.identity, record?.state, record?.leaf], ["certificate", CLIENT_IDENTITY, "issued", 3]);
  });

  test("list and show refuse what cannot be asked", async () => {
    for (const args of [
      ["list", "--outcome", "lost"],
      ["list", "--serial", "xyz"],
      ["list", "--limit", "0"],
      ["list", "--identity", "a/b/c"],
      ["show", "no"],
    ])
      assert.equal((await place.run("ca", ...args)).exit, 2, args.join(" "));
    assert.equal((await place.run("ca", "show", "ff")).exit, 4);
  });

  test("show tells one certificate", async () => {
    const { stdout } = await place.run("ca", "show", serial);
    assert.match(stdout, new RegExp(`serial +${serial}\\n.*identity +${CLIENT_IDENTITY}\\n[^]*entry of the log +3\\n$`));
  });

  test("list and show tell what was revoked", async () => {
    assert.equal((await place.run("ca", "revoke", "--serial", serial, "--reason", "keyCompromise")).exit, 0);
    const told = lines((await place.run("ca", "list", "--outcome", "revoked")).stdout);
    assert.equal(told.length, 1);
    assert.match(told[0] ?? "", new RegExp(`Z revoked {5}${serial} ${CLIENT_IDENTITY} by token, revoked \\S+: keyCompromise$`));
    assert.match((await place.run("ca", "show", serial)).stdout, /revoked +\S+: keyCompromise\n/);
  });

  test("prove gives a proof that holds for this certificate alone, with nothing but the verifier", async () => {
    const verifier = readFileSync(join(place.state, "ca", "log", "verifier"), "utf8").trim();
    writeFileSync(file("web.tlog-proof"), (await place.run("ca", "prove", serial)).stdout);
    const check = (certificate: string) =>
      place.run("ca", "verify-proof", file("web.tlog-proof"), "--certificate", certificate, "--key", verifier);
    const good = await check(file("leaf.pem"));
    assert.match(good.stdout, new RegExp(`^in the log: serial ${serial}, ${CLIENT_IDENTITY}, issued `));
    assert.equal(good.exit, 0);
    const root = join(place.state, "ca", "root-cert.pem");
    assert.deepEqual([(await check(root)).exit, (await check(root)).stdout], [1, "the proof is of another certificate\n"]);
  });

  test("verify-log checks the log while the control plane runs, and the ledger as well when it has ended", async () => {
    const busy = await place.run("ca", "verify-log");
    assert.equal(busy.exit, 4);
    assert.match(busy.stderr, /in use by another process\n {2}help: stop .* --log-only/);
    writeFileSync(file("kept.txt"), readFileSync(join(place.state, "ca", "log", "checkpoint"), "utf8"));
    assert.match(
      (await place.run("ca", "verify-log", "--log-only", "--checkpoint", file("kept.txt"))).stdout,
      /^the log holds: 4 certificates, 1 of revocations and JWT-SVIDs, root \S+, \d checkpoints\n$/,
    );
    assert.equal(await serve.stop(), 0);
    const held = await place.run("ca", "verify-log");
    assert.deepEqual([held.exit, held.stderr], [0, ""]);
    const bundle = join(place.state, "ca", "log", "tile", "entries", "000.p", "5");
    const bytes = readFileSync(bundle);
    writeFileSync(bundle, Buffer.from(bytes.toString("latin1").replace("sa/client", "sa/server"), "latin1"));
    const broken = await place.run("ca", "verify-log");
    assert.equal(broken.exit, 1);
    // The second hash, whose first bytes may be the same by chance.
    assert.match(broken.stdout, /^tile\/0\/000\.p\/5: the file is not what the entries give, from byte 3[2-9] on\n/m);
    assert.match(
      broken.stdout,
      /^ledger row of leaf 1: `identity` of serial \S+ is `\S+client` in the ledger and `\S+server` in the log\n/m,
    );
    assert.match(broken.stdout, /the log does NOT hold\n$/);
  });
});
