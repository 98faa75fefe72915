/** `garrison up` where something is in the way of one workload: which one, why, and the others go on. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { test } from "node:test";
import { pickPort } from "../fakes/ports.ts";
import { meshFiles } from "./mesh.ts";
import { Place } from "./place.ts";

test("a port that is taken: `up` counts who is whole, says who is not and why, and ends with 4", { timeout: 90_000 }, async (t) => {
  const other = createServer().listen(0, "127.0.0.1");
  t.after(() => other.close());
  await once(other, "listening");
  const taken = (other.address() as AddressInfo).port;
  const [outbound, application] = await Promise.all([pickPort(), pickPort()]);
  const place = new Place(t, meshFiles({ inbound: taken, outbound, application }));
  const up = place.start(["up", place.config, "--listen", "127.0.0.1:0", "--proxy", "embedded"]);
  assert.match(await up.line(/^control plane on /), /, 1 of 2 workloads with the embedded proxy:/);
  assert.match(
    await up.line(/^garrison: /),
    new RegExp(`^garrison: shop/server is not whole: .*cannot listen on \`127\\.0\\.0\\.1:${taken}\`: something else does`),
  );
  assert.equal(await up.stop(), 4);
});
