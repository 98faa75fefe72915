import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { describe, it } from "node:test";
import { OutsideCa } from "../../test/fakes/outside-ca.ts";
import { meta } from "../../test/fixture/objects.ts";
import { SecretText } from "../core/secret-text.ts";
import type { SecretObject } from "../policy/model.ts";
import { SecretCheck } from "./secrets.ts";

const ca = new OutsideCa("servers");
const first = ca.issue("a.example.org");
const second = ca.issue("a.example.org");

type Parts = { readonly [part in "chain" | "key" | "ca" | "crl"]?: string };

function secret({ chain, key, ca: authority, crl }: Parts): SecretObject {
  return { kind: "Secret", meta: meta("edge/cert"), chain, key: key === undefined ? undefined : new SecretText(key), ca: authority, crl };
}

/** What is told of a secret that is the first of its name. */
function toldOf(parts: Parts): readonly string[] {
  const { objects, diagnostics } = new SecretCheck().check([secret(parts)]);
  assert.equal(objects.length, diagnostics.length === 0 ? 1 : 0);
  return diagnostics.map(({ message }) => message.replace("Secret `edge/cert` cannot be used: ", ""));
}

const rsa = (modulusLength: number): string =>
  String(generateKeyPairSync("rsa", { modulusLength }).privateKey.export({ type: "pkcs8", format: "pem" }));

describe("SecretCheck", () => {
  it("takes a chain with its key, CAs, revocation lists, and secrets without any of these", () => {
    const chain = first.cert + ca.root;
    for (const parts of [{ chain, key: first.key }, { ca: ca.root, crl: ca.revocationList(second) }, {}])
      assert.deepEqual(toldOf(parts), []);
  });

  it("tells what is wrong, and nothing of what is in it", () => {
    const broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    const odd = "-----BEGIN PRIVATE KEY-----\nSECRETSECRET\n-----END PRIVATE KEY-----\n";
    assert.deepEqual(toldOf({ chain: first.cert }), ["of `tls.crt` and `tls.key` one is missing"]);
    assert.deepEqual(toldOf({ key: first.key }), ["of `tls.crt` and `tls.key` one is missing"]);
    assert.deepEqual(toldOf({ chain: first.cert, key: second.key }), ["`tls.key` is not the key of the first certificate in `tls.crt`"]);
    assert.deepEqual(toldOf({ chain: broken, key: first.key }), ["`tls.crt` cannot be read"]);
    assert.deepEqual(toldOf({ chain: first.cert, key: odd }), ["`tls.key` cannot be read"]);
    assert.deepEqual(toldOf({ chain: first.cert, key: rsa(1024) }), [
      "`tls.key` is neither RSA of 2048 bits or more nor ECDSA on P-256, P-384 or P-521",
    ]);
    assert.deepEqual(toldOf({ chain: first.cert + broken, key: first.key }), ["the chain in `tls.crt` cannot be read"]);
    assert.deepEqual(toldOf({ ca: broken }), ["`ca.crt` cannot be read"]);
    assert.deepEqual(toldOf({ ca: ca.root, crl: "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n" }), ["`ca.crl` cannot be read"]);
  });

  it("keeps the last good one in force for as long as there is an object of its name", () => {
    const check = new SecretCheck();
    const good = secret({ chain: first.cert, key: first.key });
    const bad = secret({ chain: second.cert, key: first.key });
    assert.deepEqual(check.check([good]).objects, [good]);
    assert.deepEqual(check.check([bad]).objects, [good]);
    assert.deepEqual(
      check.check([bad]).diagnostics.map(({ help }) => help),
      ["the last good one stays in force until it is mended"],
    );
    assert.deepEqual(check.check([]).objects, []);
    assert.deepEqual(check.check([bad]).objects, []);
  });
});
