import assert from "node:assert/strict";
import { test } from "node:test";
import type { ServiceEndpoint } from "../compile/workload-policy.ts";
import { Balancer } from "./balancer.ts";

const endpoints: readonly ServiceEndpoint[] = [1, 2, 3].map((port) => ({
  address: "127.0.0.1",
  port,
  identity: "spiffe://a/ns/b/sa/c",
  mtls: true,
}));
const [first, second] = endpoints;
const portsOf = (balancer: Balancer) => balancer.candidates().map(({ port }) => port);

test("endpoints take turns, and each choice names all of them", () => {
  const balancer = new Balancer(endpoints, 60_000);
  assert.deepEqual(
    [portsOf(balancer), portsOf(balancer), portsOf(balancer), portsOf(balancer)],
    [
      [1, 2, 3],
      [2, 3, 1],
      [3, 1, 2],
      [1, 2, 3],
    ],
  );
});

test("one that failed comes last until it succeeds again", () => {
  const balancer = new Balancer(endpoints, 60_000);
  assert.ok(first !== undefined && second !== undefined);
  balancer.failed(first);
  assert.deepEqual(
    [portsOf(balancer), portsOf(balancer)],
    [
      [2, 3, 1],
      [2, 3, 1],
    ],
  );
  balancer.failed(second);
  assert.deepEqual(portsOf(balancer), [3, 1, 2]);
  balancer.succeeded(first);
  assert.deepEqual(portsOf(balancer), [1, 3, 2]);
});

test("one that failed gets its turn again when its time is over", () => {
  const balancer = new Balancer(endpoints, 0);
  assert.ok(first !== undefined);
  balancer.failed(first);
  assert.deepEqual(portsOf(balancer), [1, 2, 3]);
});

test("no endpoints, no candidates", () => {
  assert.deepEqual(new Balancer([], 1).candidates(), []);
});
