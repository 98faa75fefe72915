import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { ManualClock } from "../../test/fakes/manual-clock.ts";
import { JwtSvidKeys } from "./jwt-svid-keys.ts";

const DAY_MS = 86_400_000;

let stateFolder: string;
let clock: ManualClock;
beforeEach(() => {
  stateFolder = mkdtempSync(join(tmpdir(), "garrison-jwt-keys-"));
  clock = new ManualClock(Date.UTC(2026, 0, 1));
});
afterEach(() => rmSync(stateFolder, { recursive: true }));

const open = () => new JwtSvidKeys({ stateFolder, clock });
const published = (keys: JwtSvidKeys) =>
  JSON.parse(keys.jwks) as { readonly keys: readonly { readonly kid: string; readonly use: string }[]; readonly spiffe_sequence: number };
const kids = (keys: JwtSvidKeys) => published(keys).keys.map(({ kid }) => kid);

describe("the keys of JWT-SVIDs", () => {
  it("are published as a SPIFFE bundle: public halves, for JWT-SVIDs alone", () => {
    const keys = open();
    const { keys: list, ...rest } = published(keys);
    assert.deepEqual(rest, { spiffe_sequence: 1, spiffe_refresh_hint: 300 });
    assert.deepEqual(
      list.map((key) => Object.keys(key)),
      [["kty", "kid", "use", "alg", "crv", "x", "y"]],
    );
    assert.equal(list[0]?.use, "jwt-svid");
    assert.equal(list[0]?.kid, keys.signing.kid);
  });

  it("change by command: published, then signing, then those before withdrawn; each step survives a restart, and none is out of order", async () => {
    const keys = open();
    const first = keys.signing.kid;
    assert.throws(() => keys.activate(), { code: "not-found" });
    assert.throws(() => keys.revoke(), { code: "not-found" });
    const second = keys.prepare();
    assert.throws(() => keys.prepare(), { code: "already-exists" });
    assert.deepEqual([kids(open()), open().signing.kid], [[first, second], first]);
    assert.throws(() => keys.revoke(), { code: "not-found" }, "the one that waits is not withdrawn");
    assert.equal(open().activate(), second);
    assert.deepEqual([kids(open()), open().signing.kid], [[first, second], second]);
    assert.equal(open().revoke(), second);
    assert.deepEqual([kids(open()), open().signing.kid], [[second], second]);
    assert.equal(published(open()).spiffe_sequence, 4);
  });

  it("that are prepared sign by themselves after a day", async () => {
    const keys = open();
    const second = keys.prepare();
    await clock.advance(DAY_MS);
    assert.equal(keys.signing.kid, second);
  });

  it("change every 30 days: the next one is known a day before it signs, the last one for a day after", async () => {
    const keys = open();
    const first = keys.signing.kid;
    await clock.advance(29 * DAY_MS - 1);
    assert.deepEqual(kids(keys), [first]);
    await clock.advance(1);
    const [, second = ""] = kids(keys);
    assert.deepEqual([kids(keys), keys.signing.kid], [[first, second], first]);
    await clock.advance(DAY_MS);
    assert.deepEqual([kids(keys), keys.signing.kid], [[first, second], second]);
    await clock.advance(DAY_MS);
    assert.deepEqual(kids(keys), [second]);
    assert.equal(published(keys).spiffe_sequence, 3);
  });

  it("go on signing with the known one after a control plane was away past its time, until the next is known", async () => {
    const first = open().signing.kid;
    await clock.advance(100 * DAY_MS);
    const keys = open();
    assert.deepEqual([keys.signing.kid, kids(keys).length], [first, 2]);
    await clock.advance(DAY_MS);
    assert.equal(keys.signing.kid, kids(keys)[1]);
  });

  it("outlive a restart, in a file that nobody else may read", () => {
    const { kid } = open().signing;
    assert.equal(statSync(join(stateFolder, "jwt-svid-keys.json")).mode & 0o777, 0o600);
    assert.equal(open().signing.kid, kid);
    chmodSync(join(stateFolder, "jwt-svid-keys.json"), 0o640);
    assert.throws(open, { code: "unsafe-permissions" });
  });

  it("are not replaced where the file is damaged, which is told without its contents", () => {
    for (const text of ["", "{}", '{"sequence":1,"keys":[]}', '{"sequence":1,"keys":[{"signsFrom":1,"key":"-----BEGIN secret"}]}']) {
      writeFileSync(join(stateFolder, "jwt-svid-keys.json"), text, { mode: 0o600 });
      assert.throws(open, { code: "invalid-configuration", message: "the file does not hold the keys of JWT-SVIDs" });
    }
  });

  it("are those that a replica has stored, and of two that turned at a time the other's", () => {
    const other = join(stateFolder, "other");
    const [a, b] = [open(), new JwtSvidKeys({ stateFolder: other, clock })];
    assert.notEqual(a.jwks, b.jwks);
    assert.equal(b.adopt(a.stored), false);
    assert.deepEqual([b.jwks, b.signing.kid], [a.jwks, a.signing.kid]);
    let turned = 0;
    b.onTurn(() => {
      turned += 1;
    });
    const before = a.stored;
    clock.jump(29.5 * DAY_MS);
    assert.equal(b.adopt(before), true);
    assert.equal(turned, 1);
    assert.equal(a.adopt(b.stored), false);
    assert.equal(a.jwks, b.jwks);
    assert.equal(new JwtSvidKeys({ stateFolder: other, clock }).jwks, b.jwks);
    assert.throws(() => a.adopt("{}"), { code: "invalid-configuration" });
    assert.equal(a.jwks, b.jwks);
  });
});
