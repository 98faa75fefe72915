/** What real Envoys agree on with each other, and with weaker clients. */
import assert from "node:assert/strict";
import { request } from "node:http";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { CLIENT, SERVER } from "../feature/mesh.ts";
import { Scene } from "../feature/scene.ts";
import { handshake, TOO_WEAK } from "../fixture/handshakes.ts";

describe("Envoys of the mesh", { timeout: 60_000 }, () => {
  const scene = new Scene({ after }, ["--proxy", "envoy"]);
  before(() => scene.start());

  /** Envoy's counters of agreed groups, such as `curves.X25519MLKEM768: 2`, of listeners or of clusters. */
  function groups(workload: string, of: "listener" | "cluster"): Promise<readonly string[]> {
    const socketPath = join(scene.place.state, "run", workload.replace("/", "."), "envoy-admin.sock");
    return new Promise((resolve, reject) => {
      const sent = request({ socketPath, path: `/stats?filter=${of}.*ssl.curves` }, (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (part: string) => {
          text += part;
        });
        response.once("end", () => resolve(text.split("\n").filter((line) => line !== "")));
      });
      sent.once("error", reject).end();
    });
  }

  test("agree on X25519MLKEM768 with each other and with the control plane, and on nothing else", async () => {
    const [inbound, outbound] = [await groups(SERVER, "listener"), await groups(CLIENT, "cluster")];
    assert.ok(inbound.length > 0 && outbound.length > 0);
    for (const line of [...inbound, ...outbound]) assert.match(line, /\.ssl\.curves\.X25519MLKEM768: [1-9]/);
    // Its two connections: to the server's Envoy, and to the control plane.
    assert.ok(outbound.length >= 2, outbound.join());
  });

  test("agree on a classical group with a client that has no other, and refuse what is too weak", async () => {
    const { inbound } = scene.ports;
    const offered = { ALPNProtocols: ["istio"] };
    assert.match(await handshake(inbound, { ...offered, ecdhCurve: "X25519" }), /^TLSv1\.3 \S+ X25519$/);
    assert.match(await handshake(inbound, { ...offered, ecdhCurve: "P-256" }), /^TLSv1\.3 \S+ prime256v1$/);
    for (const [what, options] of Object.entries(TOO_WEAK))
      assert.match(await handshake(inbound, { ...offered, ...options }), /^(ERR_SSL_\S+|ECONNRESET|closed)$/, what);
  });
});
