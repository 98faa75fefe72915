/** A mesh whose certificates another Garrison signs, by Istio's certificate service. */
import assert from "node:assert/strict";
import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pickPort } from "../fakes/ports.ts";
import type { GarrisonProcess } from "./garrison.ts";
import { CLIENT, SERVER } from "./mesh.ts";
import { Place } from "./place.ts";
import { Scene } from "./scene.ts";

const REGISTRAR = "spiffe://cluster.local/ns/infra/sa/edge";
const ACCOUNTS = `apiVersion: v1
kind: ServiceAccount
metadata: { name: edge, namespace: infra }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: other, namespace: infra }
`;

describe("a mesh whose certificates another Garrison signs", { timeout: 90_000 }, () => {
  const above = new Place({ after }, { "accounts.yaml": ACCOUNTS });
  const scene = new Scene({ after }, ["--proxy", "embedded"]);
  const token = join(above.folder, "token");
  let listen = "";
  let upstream: GarrisonProcess;

  async function writeToken(account: string): Promise<void> {
    const { stdout } = await above.run("token", account);
    writeFileSync(token, stdout, { mode: 0o600 });
  }

  before(async () => {
    listen = `127.0.0.1:${await pickPort()}`;
    upstream = await above.serve(listen, ["--registration-authority", REGISTRAR]);
    await writeToken("infra/edge");
    copyFileSync(above.controlPlane().rootCertificate, join(above.folder, "root.pem"));
    const lines = ["kind: istio", `address: ${listen}`, "serverName: garrison.istio-system.svc", "rootsFile: root.pem", "tokenFile: token"];
    writeFileSync(join(above.folder, "upstream.yaml"), lines.join("\n"), { mode: 0o600 });
    await scene.start(["--ca-upstream", join(above.folder, "upstream.yaml")]);
  });

  test("calls go through, policies decide by the identities, and both ledgers have the one serial number", async () => {
    assert.deepEqual([await scene.ask("/open"), await scene.ask("/secret")], [200, 403]);
    const serial = await scene.renew(CLIENT);
    for (const place of [scene.place, above]) {
      const { stdout } = await place.run("ca", "list", "--serial", serial);
      assert.match(stdout, /issued .*spiffe:\/\/cluster\.local\/ns\/shop\/sa\/client/);
    }
    const { stdout } = await above.run("ca", "list", "--serial", serial);
    assert.match(stdout, new RegExp(`of ${REGISTRAR}`));
  });

  test("an account that is no registration authority gets no other's identity", async () => {
    await writeToken("infra/other");
    await assert.rejects(scene.renew(CLIENT));
    assert.match((await scene.place.status()).ca.problem ?? "", /request impersonation authentication failure/);
    assert.equal(await scene.ask("/open"), 200);
    await writeToken("infra/edge");
    await scene.untilRenewed(CLIENT);
  });

  test("while it is away calls go on; when it is back, renewal works with nobody's help", async () => {
    await upstream.kill();
    await assert.rejects(scene.renew(SERVER));
    assert.equal(await scene.ask("/open"), 200);
    await above.serve(listen, ["--registration-authority", REGISTRAR]);
    await scene.untilRenewed(SERVER);
    await scene.untilAnswer("/open", 200);
  });
});
