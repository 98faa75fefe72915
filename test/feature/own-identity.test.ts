/** What is revoked by mistake: a name that nobody has, and the control plane itself. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { callAdmin } from "../../src/cli/admin-client.ts";
import type { StatusAnswer } from "../../src/cli/status.ts";
import type { AuthoritiesAnswer } from "../../src/server/authorities.ts";
import { until } from "../fakes/processes.ts";
import { garrison } from "./garrison.ts";
import { CLIENT, meshFiles, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

const OWN = "istio-system/garrison";
const place = new Place({ after }, meshFiles(UNUSED_PORTS));
before(() => place.serve());

const ask = (path: string) => callAdmin(join(place.state, "admin.sock"), "GET", path);
const serving = async () => ((await ask("/v1/status")) as StatusAnswer).serving;
const blocks = async () => ((await ask("/v1/ca/revocations")) as { readonly blocks: readonly unknown[] }).blocks;

describe("what is revoked by mistake", { timeout: 90_000 }, () => {
  test("an identity that nobody has is refused, with the one that was meant, unless it is forced", async () => {
    const typo = await place.run("ca", "revoke", "--identity", "shop/clinet");
    assert.deepEqual([typo.exit, typo.stdout], [4, ""]);
    assert.match(typo.stderr, new RegExp(`no service account .shop/clinet.*\\n.*did you mean .${CLIENT}.\\? .--force.`));
    assert.deepEqual(await blocks(), []);
    const forced = await place.run("ca", "revoke", "--identity", "shop/clinet", "--force");
    assert.deepEqual([forced.exit, (await blocks()).length], [0, 1]);
  });

  test("a key by a file that is not there, and a proof without its certificate, say what they need", async () => {
    const key = await place.run("ca", "revoke", "--key", "nofile.pem");
    assert.equal(key.exit, 2);
    assert.match(key.stderr, /nofile\.pem: there is no such file/);
    writeFileSync(join(place.folder, "p.proof"), "");
    const proof = await place.run("ca", "verify-proof", join(place.folder, "p.proof"));
    assert.equal(proof.exit, 2);
    assert.match(proof.stderr, /which is not said\n.*--certificate FILE/);
  });

  test("the control plane's own certificate is replaced at once when it is revoked by its number", async () => {
    const { serial } = await serving();
    assert.equal((await place.run("ca", "revoke", "--serial", serial)).exit, 0);
    await until("it has another", async () => (await serving()).serial !== serial);
    assert.equal((await serving()).problem, undefined);
  });

  test("the control plane's own identity is refused; where it is forced, its status says so, and the authority is not revoked under it", async () => {
    const refused = await place.run("ca", "revoke", "--identity", OWN);
    assert.equal(refused.exit, 4);
    assert.match(refused.stderr, /is the control plane itself.*\n.*ca prepare/);
    assert.equal((await place.run("ca", "revoke", "--identity", OWN, "--force")).exit, 0);
    await until("the renewal has failed", async () => (await serving()).problem !== undefined);
    assert.match((await place.run("status")).stdout, /\nNOT RENEWED: .*is revoked\n/);
    assert.equal((await place.run("ca", "prepare")).exit, 1);
    assert.equal((await place.run("ca", "activate")).exit, 1);
    assert.equal((await place.run("ca", "taint")).exit, 1);
    const [old] = ((await ask("/v1/ca/authorities")) as AuthoritiesAnswer).authorities;
    assert.equal(old?.state, "tainted");
    const revoked = await place.run("ca", "revoke", "--authority", old?.id ?? "");
    assert.equal(revoked.exit, 1);
    assert.match(revoked.stdout, /the control plane's own certificate is of it and was not renewed/);
    assert.match(revoked.stdout, /nothing was done/);
  });

  test("and once it has ended, it does not start until it is given free in its folder, which it keeps to itself while it runs", async () => {
    const own = new Place({ after }, meshFiles(UNUSED_PORTS));
    const unblock = (...more: readonly string[]) => own.run("ca", "unblock", ...more, "--offline");
    assert.equal((await unblock(OWN)).exit, 4);
    const serve = await own.serve();
    assert.equal((await own.run("ca", "revoke", "--identity", OWN, "--force")).exit, 0);
    const locked = await unblock(OWN);
    assert.notEqual(locked.exit, 0);
    assert.match(locked.stderr, /in use by another process/);
    await serve.stop();
    const start = ["serve", "--config", own.config, "--state", own.state, "--listen", "127.0.0.1:0"];
    assert.match((await garrison(start)).stderr, /`spiffe:\/\/cluster\.local\/ns\/istio-system\/sa\/garrison` is revoked\n.*--offline/);
    assert.equal((await unblock("shop/client")).exit, 4);
    assert.match((await unblock(OWN)).stdout, /^spiffe:\/\/cluster\.local\/ns\/istio-system\/sa\/garrison may have certificates again$/m);
    await own.serve();
    assert.equal((await own.run("status")).exit, 0);
  });

  test("given free again, it is renewed at once, and by the new authority when the old one is revoked", async () => {
    assert.equal((await place.run("ca", "unblock", OWN)).exit, 0);
    await until("it is renewed", async () => (await serving()).problem === undefined);
    const [old, active] = ((await ask("/v1/ca/authorities")) as AuthoritiesAnswer).authorities;
    const revoked = await place.run("ca", "revoke", "--authority", old?.id ?? "");
    assert.equal(revoked.exit, 0, revoked.stdout + revoked.stderr);
    assert.equal((await serving()).authority, active?.id);
  });
});
