import assert from "node:assert/strict";
import { test } from "node:test";
import { format, inspect } from "node:util";
import { SecretText } from "./secret-text.ts";

const secret = new SecretText("-----BEGIN PRIVATE KEY-----");

test("a secret text is revealed only to whoever asks for it by name", () => {
  assert.equal(secret.reveal(), "-----BEGIN PRIVATE KEY-----");
});

test("nothing that prints or serializes shows a secret text, nor what holds one", () => {
  const holder = { deep: { secret }, list: [secret], map: new Map([["key", secret]]) };
  const shown = [
    `${secret}`,
    JSON.stringify(holder),
    inspect(holder, { depth: null, showHidden: true }),
    format("%s %o %j", secret, secret, secret),
    String(Object.values(secret)),
    JSON.stringify(structuredClone(secret)),
  ];
  for (const text of shown) assert.doesNotMatch(text, /BEGIN/);
});
