/** What is revoked is refused at once and for good, whichever proxy serves it. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { until } from "../fakes/processes.ts";
import { enrol, requestCertificate } from "./caller.ts";
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

    /** What a caller of its own, by its open connection where there is one, gets from the server's proxy. */
    const askWith = ({ key, chain: cert }: TlsMaterial, agent: Agent | false) =>
      new Promise<number | "refused">((resolve) => {
        const options = { host: "127.0.0.1", port: scene.ports.inbound, path: "/open", key, cert, rejectUnauthorized: false, agent };
        const sent = request(options, (response) => void response.resume().once("end", () => resolve(response.statusCode ?? 0)));
        sent.on("error", () => resolve("refused"));
        sent.end();
      });

    /** A certificate of the client's identity that no agent has. */
    async function enrolled(): Promise<TlsMaterial> {
      const token = (await scene.place.run("token", CLIENT)).stdout.trim();
      return enrol(scene.place.controlPlane(), CLIENT_IDENTITY, token);
    }

    test("of one certificate: it is refused on the next call, in the record, in the list, and is not renewed", async () => {
      const material = await enrolled();
      const serial = parseCertificates(material.chain)[0]?.serial ?? "";
      const connection = new Agent({ keepAlive: true, maxSockets: 1 });
      assert.equal(await askWith(material, connection), 200);
      const { exit, stdout, stderr } = await scene.place.run("ca", "revoke", "--serial", serial, "--reason", "keyCompromise");
      assert.equal(exit, 0, stderr);
      assert.match(
        stdout,
        new RegExp(
          `^1 certificate revoked\n  ${serial} ${CLIENT_IDENTITY}, until .*\nin force on 2 of 2 connected proxies after \\d+ ms\n$`,
        ),
      );
      assert.deepEqual([await askWith(material, connection), await askWith(material, false)], [403, 403]);
      connection.destroy();
      const { id, caller } = await denial(scene);
      assert.equal(caller, CLIENT_IDENTITY);
      const shown = (await scene.place.run("audit", "show", String(id))).stdout;
      assert.match(shown, /by revoked\nthe caller's certificate is revoked, which denies whatever the rules say/);
      const renewal = await requestCertificate(scene.place.controlPlane(), buildCsr(generateKey(), CLIENT_IDENTITY), { material });
      assert.equal(renewal.code, "UNAUTHENTICATED");
      assert.ok(await isListed(scene, serial));
      assert.match((await scene.place.run("ca", "revocations")).stdout, new RegExp(`certificate ${serial} .*: keyCompromise`));
    });

    test("of an agent's certificate: it is told, and has another by its token at once, which is good", async () => {
      const before = await serialOf(scene, CLIENT);
      assert.equal((await scene.place.run("ca", "revoke", "--serial", before)).exit, 0);
      await until("it has another", async () => (await serialOf(scene, CLIENT)) !== before);
      // A proxy may keep connections that began with the old one.
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
