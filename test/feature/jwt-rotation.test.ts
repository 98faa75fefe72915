/** The key that signs JWT-SVIDs, replaced by command while programs use them. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { callAdmin } from "../../src/cli/admin-client.ts";
import { until } from "../fakes/processes.ts";
import { WorkloadApiTestClient } from "../fakes/workload-api-client.ts";
import { CLIENT, meshFiles, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

const kidOf = (token: string) =>
  (JSON.parse(Buffer.from(token.split(".")[0] ?? "", "base64url").toString()) as { readonly kid: string }).kid;

test("a new key is known before it signs, and tokens of the old one are refused once that is withdrawn", {
  timeout: 120_000,
}, async (t) => {
  const place = new Place(t, meshFiles(UNUSED_PORTS));
  await place.serve();
  const agent = place.start(["run", "--workload", CLIENT, "--proxy", "none"], ["sh", "-c", 'echo "at work"; exec sleep 1000']);
  await agent.line(/^at work$/);
  const follows = async () =>
    (
      (await callAdmin(join(place.state, "admin.sock"), "GET", "/v1/ca/trust")) as {
        readonly holders: readonly { readonly current: boolean }[];
      }
    ).holders[0]?.current === true;
  await until("the agent follows", follows);
  const client = new WorkloadApiTestClient(join(place.state, "run", "shop.client", "workload.sock"));
  t.after(() => client.close());
  const bundles = client.jwtBundles();
  const kids = async () => {
    const bytes = (await bundles.next()).bundles["spiffe://cluster.local"] ?? new Uint8Array();
    return (JSON.parse(Buffer.from(bytes).toString()) as { readonly keys: readonly { readonly kid: string }[] }).keys.map(({ kid }) => kid);
  };
  const before = await client.jwtSvid(["vault"]);
  assert.deepEqual(await kids(), [kidOf(before)]);

  const prepared = await place.run("ca", "prepare", "--jwt");
  assert.match(prepared.stdout, /^key \S+ is published, .*\nacknowledged by 1 of 1 connected proxies\n$/);
  const [, next] = await kids();
  assert.equal(kidOf(await client.jwtSvid(["other"])), kidOf(before));
  const activated = await place.run("ca", "activate", "--jwt");
  assert.deepEqual([activated.exit, activated.stdout.startsWith(`key ${next} signs JWT-SVIDs from now on\n`)], [0, true]);
  assert.equal(kidOf(await client.jwtSvid(["third"])), next);
  assert.equal((await client.validate("vault", before)).spiffeId, "spiffe://cluster.local/ns/shop/sa/client");

  assert.equal((await place.run("ca", "revoke", "--jwt")).exit, 0);
  await assert.rejects(client.validate("vault", before), /no key of the trust domain has its name/);
  assert.equal(kidOf(await client.jwtSvid(["vault"])), next);
});
