import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { describe, test } from "node:test";
import { formatVerifier, noteVerifier, openCheckpoint, parseVerifier, signCheckpoint } from "./note.ts";

const { privateKey } = generateKeyPairSync("ed25519");
const NAME = "cluster.local/garrison-ca";
const verifier = noteVerifier(NAME, createPublicKey(privateKey));
const checkpoint = { origin: NAME, size: 7, root: Buffer.alloc(32, 7) };
const note = signCheckpoint(checkpoint, verifier, privateKey);

describe("a signed checkpoint", () => {
  test("opens with its verifier, also when that went through text, and with more signatures of others", () => {
    const read = parseVerifier(`${formatVerifier(verifier)}\n`);
    for (const text of [note, `${note}— witness.example AAAAAAAAAAAA\n`]) assert.deepEqual(openCheckpoint(text, read), checkpoint);
  });

  test("has the form of the specification", () => {
    assert.match(note, /^cluster\.local\/garrison-ca\n7\n[A-Za-z0-9+/]{43}=\n\n— cluster\.local\/garrison-ca [A-Za-z0-9+/]{91}=\n$/);
  });

  test("does not open when a byte of it changed, nor with another key or name", () => {
    const other = generateKeyPairSync("ed25519");
    const cases = [
      [note.replace("\n7\n", "\n8\n"), verifier, /signature that does not hold/],
      [note, noteVerifier(NAME, other.publicKey), /not signed by the log's key/],
      [note, noteVerifier("other", createPublicKey(privateKey)), /not signed by the log's key/],
      [note.replace("\n\n", "\n"), verifier, /not a signed note/],
      [note.slice(0, -1), verifier, /not a signed note/],
      ["", verifier, /not a signed note/],
      [signCheckpoint({ ...checkpoint, origin: "other" }, verifier, privateKey), verifier, /not one of this log/],
    ] as const;
    for (const [text, by, message] of cases) assert.throws(() => openCheckpoint(text, by), { code: "unauthenticated", message });
  });
});

test("a text that is no verifier is refused", () => {
  const good = formatVerifier(verifier);
  for (const text of ["", "x", good.slice(0, -4), good.replace(NAME, "other"), good.replace("+A", "+B")])
    assert.throws(() => parseVerifier(text), { code: "invalid-argument" }, text);
});
