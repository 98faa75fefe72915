/** A mesh whose certificates a real step-ca signs. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pickPort } from "../fakes/ports.ts";
import { CLIENT, SERVER } from "../feature/mesh.ts";
import { Scene } from "../feature/scene.ts";
import { StepCa } from "../fixture/step-ca.ts";

describe("a mesh whose certificates step-ca signs", { timeout: 90_000 }, () => {
  const scene = new Scene({ after }, ["--proxy", "embedded"]);
  let step: StepCa;
  before(async () => {
    const folder = join(scene.place.folder, "step");
    step = new StepCa({ program: process.env.STEP_CA_PATH ?? "step-ca", folder, port: await pickPort() });
    scene.place.after(() => step.stop());
    await step.start();
    const file = join(folder, "upstream.yaml");
    const lines = ["kind: step-ca", `url: ${step.url}`, "rootsFile: root.pem", "provisioner: garrison", `keyFile: ${step.keyFile}`];
    writeFileSync(file, lines.join("\n"), { mode: 0o600 });
    await scene.start(["--ca-upstream", file]);
  });

  test("calls go through and policies decide by the identities; the ledger has the serial numbers that step-ca chose, in the log with a proof", async () => {
    assert.deepEqual([await scene.ask("/open"), await scene.ask("/secret")], [200, 403]);
    const serial = await scene.renew(CLIENT);
    const shown = await scene.place.run("ca", "show", serial);
    assert.match(shown.stdout, /spiffe:\/\/cluster\.local\/ns\/shop\/sa\/client/);
    const proof = await scene.place.run("ca", "prove", serial);
    assert.equal(proof.exit, 0, proof.stderr);
    const { ca } = await scene.place.status();
    assert.deepEqual([ca.source, ca.keyKind, ca.intermediates, ca.roots], [`step-ca at ${step.url}`, "P-256", 1, 1]);
  });

  test("while step-ca is away calls go on, nothing is certified, and the status says so; when it is back, renewal works with nobody's help", async () => {
    await step.stop();
    await assert.rejects(scene.renew(CLIENT));
    assert.match((await scene.place.status()).ca.problem ?? "", /cannot be asked: .*(ECONNREFUSED|ECONNRESET|hang up)/);
    assert.equal(await scene.ask("/open"), 200);
    await step.start();
    await scene.untilRenewed(SERVER);
    await scene.untilRenewed(CLIENT);
    await scene.untilAnswer("/open", 200);
    assert.equal((await scene.place.status()).ca.problem, undefined);
  });

  test("a key that step-ca does not know gets nothing", async () => {
    writeFileSync(step.keyFile, step.strangerKey(), { mode: 0o600 });
    await assert.rejects(scene.renew(CLIENT));
    assert.match((await scene.place.status()).ca.problem ?? "", /it refused \(401\)/);
  });
});
