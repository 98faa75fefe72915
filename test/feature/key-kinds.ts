/** Kinds of keys that an operator chooses: the CA's, and the workloads'. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { connect } from "node:tls";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { enrol } from "./caller.ts";
import type { Scope } from "./garrison.ts";
import { CLIENT, CLIENT_IDENTITY, SERVER } from "./mesh.ts";
import { type ProxyFlags, Scene } from "./scene.ts";

export interface KeyKindsOptions {
  readonly skip?: string | false;
  /** The file's `after`. */
  readonly scope: Scope;
}

/** Under one kind of proxy. */
export function describeKeyKinds(name: string, flags: ProxyFlags, { skip = false, scope }: KeyKindsOptions): void {
  describe(`kinds of keys, with ${name}`, { skip, timeout: 180_000 }, () => {
    const scene = new Scene(scope, flags);
    const openssl = (...args: readonly string[]) => execFileSync("openssl", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
    /** The certificate that the server's proxy proves itself by, as openssl prints it, and with what it was verified. */
    const served = async (): Promise<string> => {
      const token = (await scene.place.run("token", CLIENT)).stdout.trim();
      const { key, chain, roots } = await enrol(scene.place.controlPlane(), CLIENT_IDENTITY, token);
      const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
      const socket = connect(
        { host: "127.0.0.1", port: scene.ports.inbound, key, cert: chain, ca: roots, checkServerIdentity: () => undefined },
        () => resolve(socket.getPeerCertificate().raw),
      );
      socket.once("error", reject);
      const der = await promise;
      socket.destroy();
      const file = join(scene.place.folder, "served.der");
      writeFileSync(file, der);
      return openssl("x509", "-inform", "DER", "-in", file, "-noout", "-text");
    };

    before(async () => {
      if (skip) return;
      await scene.prepare();
      await scene.startControlPlane(["--ca-key-kind", "P-384"]);
      await Promise.all([
        scene.startAgent(SERVER, [], [...flags, "--key-kind", "RSA-3072"]),
        scene.startAgent(CLIENT, [], [...flags, "--key-kind", "p-384"]),
      ]);
      await scene.untilAnswer("/open", 200);
    });

    test("are the CA's and the workloads' as the options say, and the call goes all the way", async () => {
      const text = await served();
      assert.match(text, /Public-Key: \(3072 bit\)/);
      assert.match(text, /Signature Algorithm: ecdsa-with-SHA384/);
      assert.match(openssl("x509", "-in", scene.place.controlPlane().rootCertificate, "-noout", "-text"), /NIST CURVE: P-384/);
    });

    test("of a CA change by a rotation: what is prepared has the kind that holds then", async () => {
      await scene.serve.kill();
      await scene.startControlPlane(["--ca-key-kind", "Ed25519"]);
      await scene.place.untilStatus(
        "both proxies are back",
        ({ workloads }) => workloads.filter(({ proxies }) => proxies.length > 0).length === 2,
      );
      for (const step of [["prepare"], ["activate"]]) {
        const { exit, stdout, stderr } = await scene.place.run("ca", ...step);
        assert.equal(exit, 0, stdout + stderr);
      }
      await Promise.all([SERVER, CLIENT].map((workload) => scene.untilRenewed(workload)));
      await scene.untilAnswer("/open", 200);
      const roots = parseCertificates(readFileSync(scene.place.controlPlane().rootCertificate, "utf8"));
      assert.equal(roots.length, 2);
      const text = await served();
      assert.match(text, /Signature Algorithm: ED25519/);
      assert.match(text, /Public-Key: \(3072 bit\)/);
    });

    test("that no workload has are refused with the reason, and what would have no effect", async () => {
      const leaf = await scene.place.run("run", "--workload", CLIENT, ...flags, "--key-kind", "Ed25519");
      assert.deepEqual([leaf.exit, /Envoy takes no Ed25519 certificate/.test(leaf.stderr)], [2, true], leaf.stderr);
      const own = await scene.place.run("serve", "--config", scene.place.config, "--ca-folder", "x", "--ca-key-kind", "P-384");
      assert.deepEqual([own.exit, /is for keys that are made here/.test(own.stderr)], [2, true], own.stderr);
    });
  });
}
