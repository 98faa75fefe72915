import assert from "node:assert/strict";
import { test } from "node:test";
import type { Decision } from "../policy/decision.ts";
import { DEFAULT_LIMITS } from "./limits.ts";
import { LocalEndpoint } from "./local-endpoint.ts";
import { grant, type Permit } from "./permit.ts";

const ALLOW: Decision = { effect: "allow", because: { kind: "no-policy" }, audit: [] };

test("only an allowing decision grants a permit, and the permit remembers it", () => {
  assert.equal(grant(ALLOW)?.decision, ALLOW);
  assert.equal(grant({ ...ALLOW, effect: "deny", because: { kind: "default" } }), undefined);
});

test("nothing but a permit opens the way to the application, says the compiler", () => {
  const endpoint = new LocalEndpoint({ kind: "tcp", host: "127.0.0.1", port: 1 }, "http", DEFAULT_LIMITS);
  const forged = { decision: ALLOW };
  // @ts-expect-error an object that looks like a permit is none
  const permit: Permit = forged;
  // @ts-expect-error a decision is none either
  assert.ok(endpoint.http(ALLOW) !== undefined);
  assert.ok(permit !== undefined);
  endpoint.close();
});
