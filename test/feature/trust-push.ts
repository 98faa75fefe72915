/** What everybody trusts, changed under a running mesh, whichever proxies it has. */
import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { authorityId } from "../../src/ca/authority-id.ts";
import { callAdmin } from "../../src/cli/admin-client.ts";
import type { TrustStatus } from "../../src/server/trust-status.ts";
import { FakeCa } from "../fakes/fake-ca.ts";
import { until } from "../fakes/processes.ts";
import { WorkloadApiTestClient } from "../fakes/workload-api-client.ts";
import { OpensslCa } from "../fixture/openssl-ca.ts";
import type { FaultOptions } from "./faults.ts";
import { CLIENT, CLIENT_IDENTITY, SERVER } from "./mesh.ts";
import { type ProxyFlags, Scene } from "./scene.ts";

/** The same tests for each proxy. */
export function describeTrustPush(name: string, flags: ProxyFlags, { skip = false, scope }: FaultOptions): void {
  describe(`roots that change while ${name} serves`, { skip, timeout: 60_000 }, () => {
    const scene = new Scene(scope, flags);
    const folder = join(scene.place.folder, "cacerts");
    const ca = new OpensslCa(join(scene.place.folder, "openssl"));
    const other = new FakeCa("another CA");
    const stranger = other.material(CLIENT_IDENTITY);
    const otherRoot = authorityId(other.root);
    const roots = (...pem: readonly string[]) => writeFileSync(join(folder, "root-cert.pem"), [ca.text("root.pem"), ...pem].join(""));
    const trust = async () => (await callAdmin(join(scene.place.state, "admin.sock"), "GET", "/v1/ca/trust")) as TrustStatus;
    const serials = async () => [
      (await scene.agentStatus(CLIENT)).certificate.serial,
      (await scene.agentStatus(SERVER)).certificate.serial,
    ];

    /** Everybody, of two, has said that it trusts the other root, or no longer. */
    const untilHeld = (held: boolean) =>
      until(`both agents ${held ? "hold" : "have dropped"} the root`, async () => {
        const { holders } = await trust();
        return holders.length === 2 && holders.every((holder) => holder.current && holder.roots.includes(otherRoot) === held);
      });

    /** What one who has the client's name from the other CA gets from the server's proxy; `refused` in the handshake. */
    const askAsStranger = () =>
      new Promise<number | "refused">((resolve) => {
        const { key, chain: cert } = stranger;
        const options = { host: "127.0.0.1", port: scene.ports.inbound, path: "/open", key, cert, rejectUnauthorized: false, agent: false };
        const sent = request(options, (response) => {
          resolve(response.statusCode ?? 0);
          response.destroy();
        });
        sent.on("error", () => resolve("refused"));
        sent.end();
      });

    before(async () => {
      ca.make("root");
      ca.make("first", { parent: "root" });
      ca.plug(folder, "first", ["root"]);
      await scene.start(["--ca-folder", folder]);
    });

    test("an added root is in force at every proxy, and acknowledged, with nobody's certificate renewed", async () => {
      await untilHeld(false);
      assert.equal(await askAsStranger(), "refused");
      const before = await serials();
      roots(other.rootPem);
      await untilHeld(true);
      assert.equal(await askAsStranger(), 200);
      assert.deepEqual(await serials(), before);
    });

    test("the Workload API's bundle follows it as well", async () => {
      const client = new WorkloadApiTestClient((await scene.agentStatus(CLIENT)).workloadApi.socket);
      const bundle = client.x509Bundles();
      const sizeOf = (message: { readonly bundles: Readonly<Record<string, Uint8Array>> }) =>
        message.bundles["spiffe://cluster.local"]?.byteLength ?? 0;
      const both = sizeOf(await bundle.next());
      roots();
      const one = sizeOf(await bundle.next());
      client.close();
      assert.equal(both - one, other.root.der.byteLength);
    });

    test("a root that is taken away is refused, again without a renewal", async () => {
      await untilHeld(false);
      assert.equal(await askAsStranger(), "refused");
      assert.equal(await scene.ask("/open"), 200);
    });

    test("who could not be told while the control plane was killed learns it when that is back; the bundle's number goes on", async () => {
      const [before] = (await trust()).bundles;
      await scene.serve.kill();
      rmSync(join(scene.place.state, "admin.sock"), { force: true });
      roots(other.rootPem);
      await scene.startControlPlane(["--ca-folder", folder]);
      await untilHeld(true);
      assert.equal(await askAsStranger(), 200);
      const [after] = (await trust()).bundles;
      assert.equal(after?.sequence, (before?.sequence ?? 0) + 1);
    });
  });
}
