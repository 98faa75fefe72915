/** A replica whose pod is replaced: its keys and its state folder are gone, its records are not. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { enrol, requestCertificate } from "../feature/caller.ts";
import { type GarrisonProcess, garrison } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { Cluster } from "./cluster.ts";
import { namespaceWith } from "./objects.ts";

const PAY = "spiffe://cluster.local/ns/shop/sa/pay";

describe("a replica with a folder for its records", { timeout: 240_000 }, () => {
  const place = new Place({ after });
  const records = join(place.folder, "records");
  let cluster: Cluster;
  let serve: GarrisonProcess;

  async function start(): Promise<void> {
    const flags = ["--ca-secret", "garrison-ca/garrison-ca", "--records", records, "--listen", "127.0.0.1:0"];
    serve = place.start(["serve", "--kubeconfig", await cluster.controlPlaneKubeconfig(), ...flags]);
    await serve.line(/ control plane serves /);
  }

  /** As the controller of StatefulSets does it: the same name and volume, and nothing else of the old one. */
  async function replacePod(): Promise<void> {
    await serve.kill();
    rmSync(place.state, { recursive: true });
    await start();
  }

  const serialOf = (chain: string): string => parseCertificates(chain)[0]?.serial ?? "";
  const listed = async (): Promise<string> => (await place.run("ca", "list")).stdout;

  before(async () => {
    cluster = await Cluster.start(place);
    await cluster.apply(namespaceWith("shop", ["pay"]));
    await cluster.pod("shop", "pay-1", { account: "pay", ip: "10.244.0.7", labels: { app: "pay" } });
    await start();
  });

  test("has its ledger and its log again, without a gap, and no key of the CA beside them", async () => {
    const token = await cluster.token("shop", "pay", { audience: "istio-ca", pod: "pay-1" });
    const { chain } = await enrol(place.controlPlane(), PAY, token);
    await replacePod();
    assert.match(await listed(), new RegExp(serialOf(chain)));
    const again = await enrol(place.controlPlane(), PAY, token);
    const both = await listed();
    for (const each of [chain, again.chain]) assert.match(both, new RegExp(serialOf(each)));
    const { exit, stdout, stderr } = await place.run("ca", "verify-log", "--log-only");
    assert.equal(exit, 0, stdout + stderr);
    const files = readdirSync(records, { recursive: true }).map(String);
    assert.deepEqual(
      files.filter((name) => name.includes("key")),
      [join("ca", "log-key.pem")],
    );
    assert.equal(existsSync(join(place.state, "ca", "ledger.sqlite")), false);
  });

  test("revokes by its serial number what it issued before, and its proof no longer counts", async () => {
    const token = await cluster.token("shop", "pay", { audience: "istio-ca", pod: "pay-1" });
    const material = await enrol(place.controlPlane(), PAY, token);
    await replacePod();
    const { exit, stderr } = await place.run("ca", "revoke", "--serial", serialOf(material.chain));
    assert.equal(exit, 0, stderr);
    await replacePod();
    const refused = await requestCertificate(place.controlPlane(), buildCsr(generateKey(), PAY), { material });
    assert.equal(refused.code, "UNAUTHENTICATED");
  });

  test("shows ledger and log to whoever looks with nothing running", async () => {
    await serve.kill();
    const { exit, stdout } = await garrison(["ca", "verify-log", "--state", records]);
    assert.equal(exit, 0, stdout);
  });
});
