import assert from "node:assert/strict";
import { readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { ManualClock } from "../../test/fakes/manual-clock.ts";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import { generateKey, spkiOf } from "../x509/csr-builder.ts";
import { checkIssuedCertificate, type IssuedCertificate } from "./issued-certificate.ts";
import { keepOutputFiles } from "./output-files.ts";

const IDENTITY = "spiffe://cluster.local/ns/shop/sa/cart";
const ca = new FakeCa();

function issue(): IssuedCertificate {
  const privateKey = generateKey();
  const leaf = ca.sign({ spki: spkiOf(privateKey), identities: [IDENTITY] });
  return checkIssuedCertificate({ elements: [leaf, ca.rootPem], privateKey, identity: IDENTITY, now: Date.now() });
}

test("files that cannot be written are written as soon as they can, with the newest, and their reader is told then", async (t) => {
  const outputCertificates = join(tempFolder(t), "certificates");
  const clock = new ManualClock(Date.now());
  const logger = new RecordingLogger();
  const told: string[] = [];
  let renewed = (_: IssuedCertificate) => {};
  const files = keepOutputFiles({
    identity: IDENTITY,
    outputCertificates,
    renewalSignal: { signal: "SIGHUP" },
    manager: {
      subscribe: (listener) => {
        renewed = listener;
        return () => {
          renewed = () => {};
        };
      },
    },
    toCommand: (signal) => told.push(signal),
    clock,
    timers: clock,
    logger,
  });
  const written = () => readFileSync(join(outputCertificates, "cert-chain.pem"), "utf8");
  const [first, second, third] = [issue(), issue(), issue()];
  renewed(first);
  assert.deepEqual([written(), files.problem(), told.length], [first.chain, undefined, 0]);
  renameSync(outputCertificates, `${outputCertificates}.away`);
  renewed(second);
  assert.match(files.problem()?.message ?? "", /could not be written to its files/);
  await clock.advance(10_000);
  renewed(third);
  renameSync(`${outputCertificates}.away`, outputCertificates);
  assert.deepEqual([written(), told.length], [first.chain, 0]);
  await clock.advance(10_000);
  assert.deepEqual([written(), files.problem(), told.join()], [third.chain, undefined, "SIGHUP"]);
  assert.ok(logger.messages.some((line) => line.startsWith("error: the certificate could not be written")));
  files.close();
  assert.equal(clock.waiting, 0);
});
