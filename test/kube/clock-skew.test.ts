/** A replica whose clock does not agree with the API server's, beside one whose clock does. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { until } from "../fakes/processes.ts";
import { enrol, requestCertificate } from "../feature/caller.ts";
import { ahead } from "../feature/clock.ts";
import { Place } from "../feature/place.ts";
import { Cluster } from "./cluster.ts";
import { namespaceWith } from "./objects.ts";

const PAY = "spiffe://cluster.local/ns/shop/sa/pay";
const OBJECTS = namespaceWith("shop", ["pay"]);
/** Longer than a Lease is good for (15 s). */
const WATCHED_MS = 20_000;

for (const seconds of [90, -90])
  describe(`a replica whose clock is ${Math.abs(seconds)} s ${seconds > 0 ? "ahead" : "behind"}`, { timeout: 180_000 }, () => {
    const [first, skewed] = [new Place({ after }), new Place({ after })];
    let cluster: Cluster;

    const holder = async (): Promise<string | undefined> =>
      (
        await cluster.read<{ readonly spec?: { readonly holderIdentity?: string } }>(
          "/apis/coordination.k8s.io/v1/namespaces/garrison-system/leases/garrison",
        )
      ).spec?.holderIdentity;

    before(async () => {
      cluster = await Cluster.start(first);
      await cluster.apply(OBJECTS);
      await cluster.pod("shop", "pay-1", { account: "pay", ip: "10.244.0.7" });
      const flags = ["--kubeconfig", await cluster.controlPlaneKubeconfig(), "--ca-secret", "garrison-ca/garrison-ca"];
      const serve = first.start(["serve", ...flags, "--listen", "127.0.0.1:0"]);
      await serve.line(/ control plane serves /);
      await until("the first holds the lease", async () => (await holder()) !== undefined);
      await skewed.start(["serve", ...flags, "--listen", "127.0.0.1:0"], [], ahead(seconds)).line(/ control plane serves /);
    });

    test("takes the API server's tokens, and issues what the other takes at once", async () => {
      const token = await cluster.token("shop", "pay", { audience: "istio-ca", pod: "pay-1" });
      const material = await enrol(skewed.controlPlane(), PAY, token);
      const [leaf] = parseCertificates(material.chain);
      assert.ok((leaf?.notBefore ?? Number.POSITIVE_INFINITY) <= Date.now());
      assert.equal((await requestCertificate(first.controlPlane(), buildCsr(generateKey(), PAY), { material })).code, "OK");
      assert.equal((await requestCertificate(skewed.controlPlane(), buildCsr(generateKey(), PAY), { material })).code, "OK");
    });

    test("leaves the lease to who holds it and lives, and loses nobody's reports", async () => {
      const before = await holder();
      const end = performance.now() + WATCHED_MS;
      for (; performance.now() < end; await sleep(500)) assert.equal(await holder(), before);
      assert.doesNotMatch((await first.run("mtls", "plan")).stdout, /could not be asked/);
    });
  });
