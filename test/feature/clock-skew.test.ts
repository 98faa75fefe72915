/** Clocks that do not agree: what a certificate's backdating covers, and what is said beyond it. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { requestCertificate } from "./caller.ts";
import { ahead } from "./clock.ts";
import { CLIENT, CLIENT_IDENTITY, meshFiles, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

async function serveAhead(seconds: number): Promise<Place> {
  const place = new Place({ after }, meshFiles(UNUSED_PORTS));
  const serve = place.start(["serve", "--config", place.config, "--listen", "127.0.0.1:0"], [], ahead(seconds));
  await serve.line(/ control plane serves /);
  return place;
}

async function ask(place: Place) {
  const token = (await place.run("token", CLIENT)).stdout.trim();
  return requestCertificate(place.controlPlane(), buildCsr(generateKey(), CLIENT_IDENTITY), { token });
}

describe("a control plane", { timeout: 60_000 }, () => {
  test("whose clock is a minute and a half ahead issues what the others take at once", async () => {
    const place = await serveAhead(90);
    const outcome = await ask(place);
    assert.ok("answer" in outcome);
    const [leaf] = parseCertificates(outcome.answer[0] ?? "");
    assert.ok((leaf?.notBefore ?? Number.POSITIVE_INFINITY) <= Date.now());
  });

  test("whose clock is a minute and a half behind issues what the others take, too", async () => {
    assert.equal((await ask(await serveAhead(-90))).code, "OK");
  });

  test("whose clock is an hour ahead is refused by agents, who name the clocks, and start no application", async () => {
    const place = await serveAhead(3600);
    const started = join(place.folder, "started");
    const run = place.start(["run", "--workload", CLIENT, "--proxy", "embedded"], ["touch", started]);
    await run.line(/certificate is not yet valid.*compare the clock of this machine/);
    assert.equal(existsSync(started), false);
  });
});
