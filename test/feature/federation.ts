/** Two meshes with roots of their own that call each other, whichever proxies they have. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import type { FaultOptions } from "./faults.ts";
import { FederatedMesh } from "./federated-mesh.ts";
import type { ProxyFlags } from "./scene.ts";

/** The same tests for each proxy. */
export function describeFederation(name: string, flags: ProxyFlags, { skip = false, scope }: FaultOptions): void {
  describe(`two meshes that federate, with ${name}`, { skip, timeout: 120_000 }, () => {
    const east = new FederatedMesh(scope, "east.example", flags);
    const west = new FederatedMesh(scope, "west.example", flags);

    before(async () => {
      await Promise.all([east.prepare(), west.prepare()]);
      east.write(west);
      west.write(east);
      await Promise.all([east.startControlPlane(), west.startControlPlane()]);
      await Promise.all([east.startAgents(), west.startAgents()]);
    });

    test("strangers refuse each other in the handshake", async () => {
      assert.deepEqual(await Promise.all([east.ask("/by-name"), west.ask("/by-name")]), [503, 503]);
    });

    test("a mesh that federates calls and is called; policies tell the other domain by its name", async () => {
      east.federate([await west.entryFor(east)]);
      west.federate([await east.entryFor(west)]);
      await Promise.all([east.untilState("trusted"), west.untilState("trusted")]);
      await Promise.all([east.untilAnswer("/by-name", 200), west.untilAnswer("/by-name", 200)]);
      for (const mesh of [east, west])
        assert.deepEqual(await Promise.all([mesh.ask("/by-domain"), mesh.ask("/elsewhere"), mesh.ask("/other")]), [200, 403, 403]);
    });

    test("a mesh that is taken out of the file is refused at once", async () => {
      east.federate([]);
      await west.untilAnswer("/by-name", 503);
      await east.untilAnswer("/by-name", 503);
      east.federate([await west.entryFor(east)]);
      await Promise.all([east.untilAnswer("/by-name", 200), west.untilAnswer("/by-name", 200)]);
    });

    test("while the other endpoint is away its bundle stays, over a restart too, until it is stale", async () => {
      east.federate([await west.entryFor(east, "20s")]);
      await east.untilState("trusted");
      await west.serve.kill();
      await east.serve.kill();
      await east.startControlPlane();
      assert.equal((await east.statuses())[0]?.state, "trusted");
      assert.equal(await west.ask("/by-name"), 200);
      await east.untilState("stale");
      await west.untilAnswer("/by-name", 503);
      await west.startControlPlane();
      await east.untilState("trusted");
      await west.untilAnswer("/by-name", 200);
    });
  });
}
