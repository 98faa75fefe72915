/** `garrison mtls`: modes, and who would break, asked of a running control plane with its record. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { enrol, openAds, report } from "./caller.ts";
import { CLIENT_IDENTITY, meshFiles, peerAuthentication, SERVER, SERVER_IDENTITY, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

const place = new Place({ after }, { ...meshFiles(UNUSED_PORTS), "peers.yaml": peerAuthentication("PERMISSIVE") });

const NOW = Date.now();
const CALL = {
  timeMs: BigInt(NOW - 60_000),
  protocol: "http",
  service: SERVER,
  sourceIp: "203.0.113.9",
  port: UNUSED_PORTS.inbound,
  method: "GET",
  path: "/open",
  status: 200,
  effect: "allow",
  origin: "no-policy",
};

before(async () => {
  await place.serve();
  const { stdout } = await place.run("token", SERVER);
  const material = await enrol(place.controlPlane(), SERVER_IDENTITY, stdout.trim());
  const decisions = [
    CALL,
    { ...CALL, timeMs: BigInt(NOW - 30_000) },
    { ...CALL, caller: CLIENT_IDENTITY, sourceIp: "203.0.113.10" },
    { ...CALL, effect: "deny", sourceIp: "203.0.113.11" },
    { ...CALL, sourceIp: "\u001b[2Jnowhere" },
  ];
  assert.deepEqual(await report(place.controlPlane(), SERVER, decisions, material), { code: "OK", answer: decisions.length });
  const typeUrl = "type.googleapis.com/envoy.config.listener.v3.Listener";
  const stream = await openAds(place.controlPlane(), SERVER, { typeUrl, names: ["*"], proxy: "envoy" }, material);
  assert.equal(stream.code, "OK");
});

describe("garrison mtls", { timeout: 60_000 }, () => {
  test("status shows the modes, and of those without identity only whoever was served", async () => {
    const { exit, stdout } = await place.run("mtls", "status");
    assert.equal(exit, 0);
    assert.match(stdout, /^shop: 1 port PERMISSIVE\n {2}shop\/client {2}listens nowhere/);
    assert.match(stdout, /^ {2}shop\/server {2}20001 PERMISSIVE \(shop\/default\)/m);
    const clients = stdout.split("\n").filter((line) => line.includes("without identity:"));
    assert.deepEqual(clients, [
      `    without identity: unknown to port 20001, 1 call, last at ${new Date(NOW - 60_000).toISOString()}`,
      `    without identity: 203.0.113.9 to port 20001, 2 calls, last at ${new Date(NOW - 30_000).toISOString()}`,
    ]);
  });

  test("status looks at the time that it is asked for", async () => {
    const { stdout } = await place.run("mtls", "status", "--since", "1s", "--json");
    const [{ workloads }] = JSON.parse(stdout).namespaces;
    assert.deepEqual(
      workloads.flatMap(({ clients }: { readonly clients: unknown }) => clients),
      [],
    );
  });

  test("plan names what would break and the policy to change, with its place", async () => {
    const { exit, stdout } = await place.run("mtls", "plan");
    assert.equal(exit, 0);
    assert.match(stdout, /^1\. shop cannot go STRICT yet\n/);
    assert.match(stdout, /^ {4}first: 203\.0\.113\.9, shop\/server, unknown must come by mutual TLS, or have a proxy$/m);
    assert.match(stdout, /^ {4}to do: write `mtls: \{mode: STRICT\}` in PeerAuthentication shop\/default \(.*peers\.yaml:\d+:\d+\)$/m);
  });

  test("plan says of a STRICT mesh that all is done", async () => {
    place.write("peers.yaml", peerAuthentication("STRICT"));
    await place.untilStatus("the edit", ({ generation }) => generation > 1);
    const { stdout } = await place.run("mtls", "plan");
    assert.match(stdout, /^1\. shop is STRICT\n {4}without a connected proxy: shop\/server\n\nEvery namespace is STRICT\./);
  });

  test("a time that is none is a usage error", async () => {
    const { exit, stderr } = await place.run("mtls", "plan", "--since", "yesterday");
    assert.equal(exit, 2);
    assert.match(stderr, /`yesterday`/);
  });
});
