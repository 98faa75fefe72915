import assert from "node:assert/strict";
import { test } from "node:test";
import type { AuditRecord } from "../audit/record.ts";
import { evidenceSince } from "./mtls.ts";

/** What looks at the record sees these of callers without identity, the newest first, and nobody else. */
async function evidenceOf(plaintext: Iterable<Partial<AuditRecord>>) {
  const store = {
    async *query({ caller }: { readonly caller?: unknown }) {
      if (caller !== undefined) yield* plaintext as Iterable<AuditRecord>;
    },
  };
  return evidenceSince({ store, connections: () => [] }, 0);
}

test("calls without identity are summed by port and address, at the time of the newest", async () => {
  const call = { workload: "shop/cart", port: 80, sourceIp: "10.0.0.1" };
  const { plaintext, truncated } = await evidenceOf([
    { ...call, time: 30 },
    { ...call, time: 20 },
    { ...call, port: 81, time: 10 },
    { ...call, sourceIp: "nowhere", time: 5 },
  ]);
  assert.equal(truncated, false);
  assert.deepEqual(plaintext, [
    { ...call, count: 2, last: 30 },
    { ...call, port: 81, count: 1, last: 10 },
    { ...call, sourceIp: "unknown", count: 1, last: 5 },
  ]);
});

test("of more addresses than are kept those of the newest calls are, and it is said that there are others", async () => {
  const address = (index: number) => ({
    workload: "shop/cart",
    port: 80,
    sourceIp: `10.0.${index >> 8}.${index & 255}`,
    time: 90_000 - index,
  });
  const most = Array.from({ length: 20_000 }, (_, index) => address(index));
  assert.equal((await evidenceOf(most)).truncated, false);
  const { plaintext, truncated } = await evidenceOf([...most, address(0), address(20_001)]);
  assert.equal(truncated, true);
  assert.deepEqual(
    plaintext.map(({ sourceIp }) => sourceIp),
    most.map(({ sourceIp }) => sourceIp),
  );
  assert.equal(plaintext[0]?.count, 2);
});
