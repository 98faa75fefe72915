/** Two meshes with roots of their own that call each other, whichever proxies they have. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import type { FakeCa } from "../fakes/fake-ca.ts";
import { until } from "../fakes/processes.ts";
import type { FaultOptions } from "./faults.ts";
import { FederatedMesh } from "./federated-mesh.ts";
import { callWith, startImpostor } from "./impostor.ts";
import type { ProxyFlags } from "./scene.ts";

/** The same tests for each proxy. */
export function describeFederation(name: string, flags: ProxyFlags, { skip = false, scope }: FaultOptions): void {
  describe(`two meshes that federate, with ${name}`, { skip, timeout: 300_000 }, () => {
    const east = new FederatedMesh(scope, "east.example", flags);
    const west = new FederatedMesh(scope, "west.example", flags);

    before(async () => {
      await Promise.all([east.prepare(), west.prepare()]);
      east.write(west);
      west.write(east);
      await Promise.all([east.startControlPlane(), west.startControlPlane()]);
      await Promise.all([east.startAgents(), west.startAgents()]);
      // An agent is ready a moment before its proxy has opened the application's port.
      await Promise.all([east, west].map((mesh) => until("its proxy answers", async () => (await mesh.ask("/by-name")) !== 0)));
    });

    test("strangers refuse each other in the handshake", async () => {
      assert.deepEqual(await Promise.all([east.ask("/by-name"), west.ask("/by-name")]), [503, 503]);
      await east.untilFiles("east.example");
    });

    test("a mesh that federates calls and is called; policies tell the other domain by its name", async () => {
      east.federate([await west.entryFor(east)]);
      west.federate([await east.entryFor(west)]);
      await Promise.all([east.untilState("trusted"), west.untilState("trusted")]);
      await Promise.all([east.untilAnswer("/by-name", 200), west.untilAnswer("/by-name", 200)]);
      for (const mesh of [east, west])
        assert.deepEqual(await Promise.all([mesh.ask("/by-domain"), mesh.ask("/elsewhere"), mesh.ask("/other")]), [200, 403, 403]);
    });

    test("certificate files have the roots of each domain apart, as the domains themselves do", async () => {
      await east.untilFiles("east.example", "west.example");
      const root = (mesh: FederatedMesh) => readFileSync(join(mesh.place.state, "ca", "root-cert.pem"), "utf8");
      const file = (name: string) => readFileSync(join(east.file("client"), "bundles", `${name}.pem`), "utf8");
      assert.deepEqual([file("east.example"), file("west.example")], [root(east), root(west)]);
      assert.equal(readFileSync(join(east.file("client"), "root-cert.pem"), "utf8"), root(east));
    });

    test("a mesh that is taken out of the file is refused at once", async () => {
      east.federate([]);
      await west.untilAnswer("/by-name", 503);
      await east.untilAnswer("/by-name", 503);
      await east.untilFiles("east.example");
      east.federate([await west.entryFor(east)]);
      await Promise.all([east.untilAnswer("/by-name", 200), west.untilAnswer("/by-name", 200)]);
    });

    test("a root signs callers of its own domain alone", async () => {
      for (const [mesh, other] of [[east, west] as const, [west, east] as const]) {
        const call = (ca: FakeCa, domain: string) =>
          callWith(mesh.ports.inbound, ca.material(`spiffe://${domain}/ns/shop/sa/client`), "/by-name");
        const [own, others] = [mesh.stolenCa(), other.stolenCa()];
        assert.equal(await call(others, other.trustDomain), 200);
        // It would be let in as an account of the mesh itself, whom the policy refuses; it is not even heard.
        assert.equal(await call(own, mesh.trustDomain), 403);
        assert.deepEqual([await call(own, other.trustDomain), await call(others, mesh.trustDomain)], [0, 0]);
      }
    });

    test("a caller of the other domain may have a name of any form that SPIFFE knows", async () => {
      const call = (path: string, name: string) =>
        callWith(east.ports.inbound, west.stolenCa().material(`spiffe://west.example/${name}`), path);
      assert.deepEqual(
        await Promise.all([call("/by-own-form", "billing/API"), call("/by-domain", "billing/API"), call("/by-name", "billing/API")]),
        [200, 200, 403],
      );
      assert.deepEqual(await Promise.all([call("/by-own-form", "billing/api"), call("/by-own-form", "ns/billing/sa/API")]), [403, 403]);
    });

    test("a root signs servers of its own domain alone", async () => {
      for (const [mesh, other] of [[east, west] as const, [west, east] as const]) {
        const impostor = await startImpostor(mesh.place, mesh.ports.impostor);
        const [own, others] = [mesh.stolenCa(), other.stolenCa()];
        const pose = (ca: FakeCa, domain: string) => impostor(ca.material(`spiffe://${domain}/ns/shop/sa/server`));
        const { asOwn, asOther } = mesh.ports;
        pose(others, other.trustDomain);
        await until("the other mesh's server is believed", async () => (await mesh.ask("/", asOther)) === 200);
        assert.equal(await mesh.ask("/", asOwn), 503);
        pose(own, other.trustDomain);
        assert.deepEqual([await mesh.ask("/", asOther), await mesh.ask("/", asOwn)], [503, 503]);
        pose(own, mesh.trustDomain);
        assert.deepEqual([await mesh.ask("/", asOther), await mesh.ask("/", asOwn)], [503, 200]);
        pose(others, mesh.trustDomain);
        assert.deepEqual([await mesh.ask("/", asOther), await mesh.ask("/", asOwn)], [503, 503]);
      }
    });

    test("while the other endpoint is away its bundle stays, over a restart too", async () => {
      east.federate([await west.entryFor(east, "1h")]);
      await east.untilState("trusted");
      await west.serve.kill();
      await east.serve.kill();
      await east.startControlPlane();
      assert.equal((await east.statuses())[0]?.state, "trusted");
      assert.deepEqual([await west.ask("/by-name"), await east.ask("/by-name")], [200, 200]);
    });

    test("a bundle that is stale ends trust in both directions, until there is a newer one", async () => {
      await east.restartWith(west, 2_000, 3_600_000);
      await east.untilState("stale");
      await Promise.all([west.untilAnswer("/by-name", 503), east.untilAnswer("/by-name", 503)]);
      await west.startControlPlane();
      await east.untilState("trusted");
      await Promise.all([west.untilAnswer("/by-name", 200), east.untilAnswer("/by-name", 200)]);
    });
  });
}
