import assert from "node:assert/strict";
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import { parseTrustDomain } from "../identity/trust-domain.ts";
import { parseCertificates } from "../x509/certificate.ts";
import { authorityId } from "./authority-id.ts";
import { OwnCa } from "./own-ca.ts";

const NOW = Date.UTC(2026, 10, 22, 12, 0, 0);

/** A folder for a CA, and how it is opened. */
function place(t: TestContext) {
  const folder = join(tempFolder(t), "ca");
  let now = NOW;
  const clock = { now: () => now };
  const open = (trustDomain = "cluster.local") =>
    new OwnCa({ folder, trustDomain: parseTrustDomain(trustDomain), clock, logger: new RecordingLogger() });
  const states = (ca: OwnCa) => ca.authorities.map(({ id, state }) => [id, state]);
  const keys = () => readdirSync(folder).filter((name) => name.startsWith("ca-key"));
  const roots = () => parseCertificates(readFileSync(join(folder, "root-cert.pem"), "utf8")).map(authorityId);
  const wait = (milliseconds: number) => {
    now += milliseconds;
  };
  return { folder, open, states, keys, roots, wait };
}

test("an authority is prepared, activated, and the old one tainted and revoked; each state is there after a restart", (t) => {
  const { open, states, keys, roots, wait } = place(t);
  const [first] = open().authorities;
  assert.ok(first);
  assert.deepEqual(keys(), ["ca-key.pem"]);
  wait(1_000);
  const { id } = open().prepare();
  assert.deepEqual(states(open()), [
    [first.id, "active"],
    [id, "prepared"],
  ]);
  assert.deepEqual(roots(), [first.id, id]);
  const prepared = open();
  assert.equal(prepared.current.issuer?.certificate.serial, first.certificate.serial);
  prepared.activate(prepared.toActivate(""));
  const activated = open();
  assert.deepEqual(states(activated), [
    [first.id, "old"],
    [id, "active"],
  ]);
  assert.equal(activated.authorities[1]?.since, NOW + 1_000);
  activated.taint(activated.toTaint(""));
  const tainted = open();
  assert.deepEqual(states(tainted), [
    [first.id, "tainted"],
    [id, "active"],
  ]);
  assert.equal(tainted.current.issuer === undefined ? "" : authorityId(tainted.current.issuer.certificate), id);
  tainted.revoke(tainted.toRevoke(first.id.slice(0, 6)));
  const ended = open();
  assert.deepEqual([states(ended), roots(), keys()], [[[id, "active"]], [id], [`ca-key-${id}.pem`]]);
});

test("keys and the list of authorities are files for their owner alone, and who follows is told of each step", (t) => {
  const { folder, open } = place(t);
  const ca = open();
  const told: number[] = [];
  ca.follow(({ roots }) => told.push(roots.length));
  const { keyFile } = ca.prepare();
  for (const name of [keyFile, "authorities.json"]) assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600);
  ca.activate(ca.toActivate(""));
  ca.revoke(ca.toRevoke(ca.authorities[0]?.id ?? ""));
  assert.deepEqual(told, [2, 2, 1]);
  chmodSync(join(folder, "authorities.json"), 0o640);
  assert.throws(() => open(), { code: "unsafe-permissions" });
});

test("steps out of their order are refused: a second one prepared, the active one tainted or revoked, a name for two or none", (t) => {
  const { open } = place(t);
  const ca = open();
  const [active] = ca.authorities;
  assert.throws(() => ca.toActivate(""), { code: "not-found", message: "there is no authority that is prepared" });
  const prepared = ca.prepare();
  assert.throws(() => ca.prepare(), { code: "already-exists" });
  assert.throws(() => ca.toTaint(active?.id ?? ""), { code: "invalid-argument", message: /is active, and not old/ });
  assert.throws(() => ca.toRevoke(active?.id ?? ""), {
    code: "invalid-argument",
    message: /is active, and not prepared or old or tainted/,
    help: /^another must sign first: `garrison ca prepare`, /,
  });
  assert.throws(() => ca.toActivate("zz"), { code: "not-found" });
  ca.activate(prepared);
  ca.activate(ca.prepare());
  assert.throws(() => ca.toTaint(""), { code: "invalid-argument", message: "2 authorities are old: name one" });
  assert.equal(ca.toActivate(active?.id ?? "").id, active?.id);
});

test("one that was activated by mistake makes way for the one before", (t) => {
  const { open, states } = place(t);
  const ca = open();
  const [first] = ca.authorities;
  const second = ca.prepare();
  ca.activate(second);
  ca.activate(ca.toActivate(first?.id ?? ""));
  assert.deepEqual(states(ca), [
    [first?.id, "active"],
    [second.id, "old"],
  ]);
});

test("the control plane's own certificate comes from the oldest that is trusted, until that is revoked", async (t) => {
  const { open } = place(t);
  const ca = open();
  const [first] = ca.authorities;
  const second = ca.prepare();
  ca.activate(second);
  const rootsOf = () => ca.current.roots.length;
  assert.notEqual(ca.current.serving, ca.current.certifier);
  assert.deepEqual([rootsOf(), ca.current.signer?.serial], [2, second.certificate.serial]);
  assert.deepEqual(
    ca.current.others?.map(({ certificate }) => certificate.serial),
    [first?.certificate.serial],
  );
});

test("files that do not hold together are refused by name", (t) => {
  const { folder, open } = place(t);
  const ca = open();
  const { keyFile } = ca.prepare();
  const path = join(folder, "authorities.json");
  const text = readFileSync(path, "utf8");
  assert.throws(() => open("other.domain"), { code: "invalid-configuration", message: /not of the trust domain/ });
  const key = readFileSync(join(folder, keyFile), "utf8");
  writeFileSync(join(folder, keyFile), "no key");
  assert.throws(() => open(), { code: "invalid-configuration", where: join(folder, keyFile) });
  writeFileSync(join(folder, keyFile), readFileSync(join(folder, "ca-key.pem")));
  assert.throws(() => open(), { message: /do not belong together/ });
  writeFileSync(join(folder, keyFile), key);
  for (const damaged of [
    "{",
    text.replace("prepared", "famous"),
    text.replace("prepared", "active"),
    text.replace("ca-key.pem", "../key.pem"),
  ]) {
    writeFileSync(path, damaged);
    assert.throws(() => open(), { code: "invalid-configuration", where: path }, damaged);
  }
  writeFileSync(path, text);
  assert.equal(open().authorities.length, 2);
});
