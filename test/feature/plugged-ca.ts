/** A mesh under the operator's own CA, whichever proxies it has. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { type CaKind, OpensslCa } from "../fixture/openssl-ca.ts";
import type { FaultOptions } from "./faults.ts";
import { CLIENT, SERVER } from "./mesh.ts";
import { type ProxyFlags, Scene } from "./scene.ts";

/** The same tests for each proxy and each kind of key. */
export function describePluggedCa(name: string, flags: ProxyFlags, kind: CaKind, { skip = false, scope }: FaultOptions): void {
  describe(`a mesh under a plugged CA of ${kind} with ${name}`, { skip, timeout: 60_000 }, () => {
    const scene = new Scene(scope, flags);
    const folder = join(scene.place.folder, "cacerts");
    const ca = new OpensslCa(join(scene.place.folder, "openssl"));
    before(async () => {
      ca.make("root", { kind });
      ca.make("first", { kind, parent: "root" });
      ca.make("second", { kind, parent: "root" });
      ca.plug(folder, "first", ["root"]);
      await scene.start(["--ca-folder", folder]);
    });

    test("calls go through, and policies decide by the identities that it certified", async () => {
      assert.deepEqual([await scene.ask("/open"), await scene.ask("/secret")], [200, 403]);
      const { ca: status } = await scene.place.status();
      assert.deepEqual([status.source, status.keyKind, status.intermediates, status.roots], [folder, kind, 1, 1]);
    });

    test("a new intermediate is taken up while it runs; renewal by a certificate of the old one goes on, and so do calls", async () => {
      ca.plug(folder, "second", ["root"]);
      await scene.serve.line(/ the CA's new files are in force /);
      await scene.renew(CLIENT);
      await scene.untilAnswer("/open", 200);
      await scene.renew(SERVER);
      await scene.untilAnswer("/open", 200);
      assert.equal(await scene.ask("/secret"), 403);
    });

    test("a set that does not hold together is told of in `garrison status`, and the one before it stays in force", async () => {
      writeFileSync(join(folder, "ca-key.pem"), ca.text("first.key"));
      await scene.serve.line(/ error .*the old set stays .*do not belong together/);
      const { stdout } = await scene.place.run("status");
      assert.match(
        stdout,
        /^CA: from \S+, \S+, serial [0-9a-f]+, signs until \S+, 1 intermediate, 1 root\n {2}the newest files are not taken: .*do not belong together/m,
      );
      await scene.renew(CLIENT);
      await scene.untilAnswer("/open", 200);
    });
  });
}
