/** What is revoked is refused at once and for good, whichever proxy serves it. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { until } from "../fakes/processes.ts";
import type { Scope } from "./garrison.ts";
import { CLIENT, CLIENT_IDENTITY } from "./mesh.ts";
import { type ProxyFlags, Scene } from "./scene.ts";

export interface RevocationOptions {
  readonly skip?: string | false;
  /** The file's `after`. */
  readonly scope: Scope;
}

async function serialOf(scene: Scene, workload: string): Promise<string> {
  return (await scene.agentStatus(workload)).certificate.serial ?? "";
}

/** The newest record of a call that was denied as revoked. */
async function denial(scene: Scene): Promise<Readonly<Record<string, unknown>>> {
  let line = "";
  await until("the denial is recorded", async () => {
    const { stdout } = await scene.place.run("audit", "--json", "--origin", "revoked", "--limit", "1");
    line = stdout.trim();
    return line !== "";
  });
  return JSON.parse(line);
}

/** Whether the list of the CA names the serial, as openssl reads it; its signature is verified. */
async function isListed(scene: Scene, serial: string): Promise<boolean> {
  const { stdout } = await scene.place.run("ca", "revocations", "--crl");
  const file = join(scene.place.folder, "list.pem");
  writeFileSync(file, stdout);
  const { rootCertificate } = scene.place.controlPlane();
  const text = execFileSync("openssl", ["crl", "-in", file, "-noout", "-text", "-CAfile", rootCertificate], { encoding: "utf8" });
  return text.toLowerCase().includes(serial);
}

/** Under one kind of proxy. */
export function describeRevocation(name: string, flags: ProxyFlags, { skip = false, scope }: RevocationOptions): void {
  describe(`revocation under ${name}`, { skip, timeout: 120_000 }, () => {
    const scene = new Scene(scope, flags);

    before(async () => {
      if (!skip) await scene.start();
    });

    test("of one certificate: it is refused on the next call, in the record, in the list, and is not renewed", async () => {
      const serial = await serialOf(scene, CLIENT);
      const { exit, stdout, stderr } = await scene.place.run("ca", "revoke", "--serial", serial, "--reason", "keyCompromise");
      assert.equal(exit, 0, stderr);
      assert.match(
        stdout,
        new RegExp(
          `^1 certificate revoked\n  ${serial} ${CLIENT_IDENTITY}, until .*\nin force on 2 of 2 connected proxies after \\d+ ms\n$`,
        ),
      );
      assert.equal(await scene.ask("/open"), 403);
      const { id, caller } = await denial(scene);
      assert.equal(caller, CLIENT_IDENTITY);
      const shown = (await scene.place.run("audit", "show", String(id))).stdout;
      assert.match(shown, /by revoked\nthe caller's certificate is revoked, which denies whatever the rules say/);
      assert.ok(await isListed(scene, serial));
      assert.match((await scene.place.run("ca", "revocations")).stdout, new RegExp(`certificate ${serial} .*: keyCompromise`));
    });

    test("and a new certificate of the same identity, which its token still gets, is good", async () => {
      await scene.agent(CLIENT).kill();
      await scene.startAgent(CLIENT);
      await scene.untilAnswer("/open", 200);
    });

    test("of an identity: all its certificates are refused and it gets no other, also after a restart, until it is unblocked", async () => {
      const { exit, stdout, stderr } = await scene.place.run("ca", "revoke", "--identity", CLIENT);
      assert.equal(exit, 0, stderr);
      assert.match(stdout, new RegExp(`identity ${CLIENT_IDENTITY} gets no certificate from now on`));
      assert.equal(await scene.ask("/open"), 403);
      await assert.rejects(scene.renew(CLIENT));
      await scene.serve.line(/certificate refused .*client certificate: the certificate is revoked/);
      await scene.serve.kill();
      await scene.startControlPlane();
      await assert.rejects(scene.renew(CLIENT));
      assert.equal(await scene.ask("/open"), 403);
      assert.equal((await scene.place.run("ca", "unblock", CLIENT)).exit, 0);
      await scene.agent(CLIENT).kill();
      await scene.startAgent(CLIENT);
      await scene.untilAnswer("/open", 200);
    });

    test("of what is not there is told, and revokes nothing", async () => {
      const unknown = await scene.place.run("ca", "revoke", "--serial", "4a4a");
      assert.deepEqual([unknown.exit, unknown.stdout], [4, ""]);
      assert.match(unknown.stderr, /no issued certificate with the serial number 4a4a/);
      assert.equal((await scene.place.run("ca", "revoke")).exit, 2);
      assert.equal((await scene.place.run("ca", "revoke", "--serial", "4a4a", "--reason", "boredom")).exit, 2);
      assert.equal((await scene.place.run("ca", "unblock", "shop/nobody")).exit, 4);
      assert.equal(await scene.ask("/open"), 200);
    });
  });
}
