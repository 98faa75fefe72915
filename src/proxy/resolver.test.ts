import assert from "node:assert/strict";
import { test } from "node:test";
import { AppError } from "../core/error.ts";
import { Resolver } from "./resolver.ts";

const isUnavailable = (error: unknown) => error instanceof AppError && error.code === "unavailable";

test("an address is itself, and nobody is asked", async () => {
  const resolver = new Resolver(() => Promise.reject(new Error("asked")));
  assert.deepEqual(await resolver.resolve("2001:db8::1", 1), ["2001:db8::1"]);
});

test("a name is asked for once, however many wait for it, and not again while the answer is fresh", async () => {
  let asked = 0;
  const resolver = new Resolver(async () => {
    asked += 1;
    return ["10.0.0.1", "10.0.0.2"];
  });
  const both = await Promise.all([resolver.resolve("a.example.com", 1_000), resolver.resolve("a.example.com", 1_000)]);
  assert.deepEqual(both, [
    ["10.0.0.1", "10.0.0.2"],
    ["10.0.0.1", "10.0.0.2"],
  ]);
  await resolver.resolve("a.example.com", 1_000);
  assert.equal(asked, 1);
});

test("a name that is not there is unavailable, and is not asked for at each request", async () => {
  let asked = 0;
  const resolver = new Resolver(() => {
    asked += 1;
    return Promise.reject(new Error("ENOTFOUND"));
  });
  for (let tries = 0; tries < 3; tries++) await assert.rejects(resolver.resolve("nobody.invalid", 1_000), isUnavailable);
  assert.equal(asked, 1);
});

test("who waits for a name that nobody answers for waits no longer than it may", async () => {
  const resolver = new Resolver(() => new Promise(() => undefined));
  await assert.rejects(resolver.resolve("slow.example.com", 20), isUnavailable);
});

test("no more than a few of many addresses are kept", async () => {
  const resolver = new Resolver(async () => Array.from({ length: 1_000 }, (_, index) => `10.0.${index >> 8}.${index & 255}`));
  assert.equal((await resolver.resolve("many.example.com", 1_000)).length, 32);
});
