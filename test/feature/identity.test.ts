/** Whom the control plane serves on its gRPC port: a proxy gets, and reports for, its own workload alone. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import { enrol, openAds, report } from "./caller.ts";
import type { GarrisonProcess } from "./garrison.ts";
import { CLIENT, CLIENT_IDENTITY, meshFiles, SERVER, UNUSED_PORTS } from "./mesh.ts";
import { selfSigned } from "./odd-credentials.ts";
import { Place } from "./place.ts";

const LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener";
const PROXY_POLICY = "type.googleapis.com/garrison.v1.ProxyPolicy";

const place = new Place({ after }, meshFiles(UNUSED_PORTS));
let serve: GarrisonProcess;
let client: TlsMaterial;

before(async () => {
  serve = await place.serve();
  const { stdout } = await place.run("token", CLIENT);
  client = await enrol(place.controlPlane(), CLIENT_IDENTITY, stdout.trim());
});

/** What the proxy of `workload` would ask first, with a certificate of the client or another. */
function askAs(workload: string, material: TlsMaterial | undefined) {
  return openAds(place.controlPlane(), workload, { typeUrl: PROXY_POLICY, names: [workload] }, material);
}

describe("a stream of configuration", { timeout: 60_000 }, () => {
  test("brings a workload its own policy, and an Envoy its own listeners", async () => {
    assert.deepEqual(await askAs(CLIENT, client), { code: "OK", answer: [CLIENT] });
    const listeners = await openAds(place.controlPlane(), CLIENT, { typeUrl: LISTENER, names: [], proxy: "envoy" }, client);
    assert.deepEqual(listeners, { code: "OK", answer: [`outbound_127.0.0.1_${UNUSED_PORTS.outbound}`] });
  });

  test("is refused as another workload, in the same words as for one that does not exist", async () => {
    const refusal = (workload: string) => ({
      code: "PERMISSION_DENIED",
      details: `\`${CLIENT_IDENTITY}\` is not the identity of a workload \`${workload}\``,
    });
    assert.deepEqual(await askAs(SERVER, client), refusal(SERVER));
    assert.deepEqual(await askAs("shop/nobody", client), refusal("shop/nobody"));
    assert.match(
      await serve.line(/ warn .*stream ended .*shop\/server/),
      /reason="`spiffe:\/\/cluster\.local\/ns\/shop\/sa\/client` is not/,
    );
  });

  test("is refused without a certificate, and with a self-signed one that claims the identity", async () => {
    const refusal = { code: "UNAUTHENTICATED", details: "the connection has no verified client certificate" };
    assert.deepEqual(await askAs(CLIENT, undefined), refusal);
    assert.deepEqual(await askAs(CLIENT, selfSigned(CLIENT_IDENTITY)), refusal);
  });

  test("shows in `garrison status` while it is open, and not after", async () => {
    const { workloads } = await place.untilStatus("no proxy", (status) => status.workloads.every(({ proxies }) => proxies.length === 0));
    assert.deepEqual(workloads.map(({ workload }) => workload).sort(), [CLIENT, SERVER]);
  });
});

describe("a stream of records", { timeout: 60_000 }, () => {
  const decision = { timeMs: BigInt(Date.now()), protocol: "http", method: "GET", path: "/", effect: "allow", origin: "no-policy" };

  test("is refused as another workload, without a certificate and with a self-signed one, and nothing is recorded", async () => {
    const outcomes = await Promise.all([
      report(place.controlPlane(), SERVER, [decision], client),
      report(place.controlPlane(), CLIENT, [decision]),
      report(place.controlPlane(), CLIENT, [decision], selfSigned(CLIENT_IDENTITY)),
    ]);
    assert.deepEqual(
      outcomes.map(({ code }) => code),
      ["PERMISSION_DENIED", "UNAUTHENTICATED", "UNAUTHENTICATED"],
    );
    assert.deepEqual(await place.run("audit"), { exit: 0, stdout: "", stderr: "the record has no decision that fits\n" });
  });

  test("is taken in from the workload itself, under its own name", async () => {
    assert.deepEqual(await report(place.controlPlane(), CLIENT, [decision], client), { code: "OK", answer: 1 });
    assert.match((await place.run("audit", "--workload", CLIENT)).stdout, / ALLOW .* -> shop\/client +GET \/ by no-policy\n$/);
  });
});
