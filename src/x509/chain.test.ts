import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { describe, test } from "node:test";
import { type Certificate, parseCertificate } from "./certificate.ts";
import { type ChainInput, verifyChain } from "./chain.ts";
import { generateKey, spkiOf } from "./csr-builder.ts";
import { boolean, element, octetString, sequence, unsignedInteger } from "./der-writer.ts";
import {
  authorityKeyIdentifier,
  basicConstraints,
  extendedKeyUsage,
  extension,
  KEY_USAGE,
  keyUsage,
  subjectKeyIdentifier,
} from "./extensions.ts";
import { formatGeneralNames } from "./general-names.ts";
import { signatureAlgorithmOf } from "./key-kinds.ts";
import { OID } from "./oids.ts";
import { keyIdentifier } from "./public-key.ts";
import { writeSigned } from "./signed.ts";
import { encodeTbs, organizationName, randomSerial } from "./tbs.ts";

const NOW = Date.UTC(2026, 10, 22);
const DAY = 86_400_000;
const URI = "spiffe://cluster.local/ns/photo/sa/web";

interface Party {
  readonly certificate: Certificate;
  readonly key: KeyObject;
  readonly name: string;
}

interface Options {
  readonly name?: string;
  readonly key?: KeyObject;
  readonly from?: number;
  readonly to?: number;
  readonly extensions?: readonly Uint8Array[];
}

const skid = (key: KeyObject) => subjectKeyIdentifier(keyIdentifier(spkiOf(key)));
const akid = (issuer: Party | undefined) => (issuer === undefined ? [] : [authorityKeyIdentifier(keyIdentifier(issuer.certificate.spki))]);
const signing = keyUsage(KEY_USAGE.keyCertSign | KEY_USAGE.cRLSign);
const uriName = (uri: string) => extension(OID.subjectAltName, true, formatGeneralNames(uri));

/** A certificate signed by `issuer`, or by itself, with exactly these extensions. */
function certify(issuer: Party | undefined, options: Options & { readonly extensions: readonly Uint8Array[] }): Party {
  const { name = "", key = generateKey(), from = NOW - DAY, to = NOW + DAY } = options;
  const distinguished = (text: string) => (text === "" ? sequence() : organizationName(text));
  const tbs = encodeTbs({
    algorithm: signatureAlgorithmOf(issuer?.key ?? key),
    serial: randomSerial(),
    issuer: distinguished(issuer?.name ?? name),
    subject: distinguished(name),
    validity: { notBefore: from, notAfter: to },
    spki: spkiOf(key),
    extensions: options.extensions,
  });
  return { certificate: parseCertificate(writeSigned(tbs, issuer?.key ?? key)), key, name };
}

function ca(issuer: Party | undefined, options: Options = {}): Party {
  const { name = "ca", key = generateKey() } = options;
  return certify(issuer, {
    ...options,
    name,
    key,
    extensions: options.extensions ?? [basicConstraints(true), signing, skid(key), ...akid(issuer)],
  });
}

const leafUsage = keyUsage(KEY_USAGE.digitalSignature);
const bothPurposes = extendedKeyUsage(OID.serverAuth, OID.clientAuth);

function leafOf(issuer: Party, options: Options = {}): Party {
  return certify(issuer, { ...options, extensions: options.extensions ?? [leafUsage, bothPurposes, ...akid(issuer), uriName(URI)] });
}

const root = ca(undefined);
const verify = (leaf: Party, more: Partial<ChainInput> = {}) =>
  verifyChain({ leaf: leaf.certificate, intermediates: [], roots: [root.certificate], time: NOW, purpose: "client", ...more });

function refuses(message: string | RegExp, leaf: Party, more: Partial<ChainInput> = {}): void {
  assert.throws(() => verify(leaf, more), { name: "AppError", code: "unauthenticated", message });
}

describe("verifyChain() accepts", () => {
  test("a leaf of a root, for either purpose, and tells its identity and path", () => {
    const leaf = leafOf(root);
    for (const purpose of ["client", "server"] as const) {
      const { identity, path } = verify(leaf, { purpose });
      assert.deepEqual(identity, { trustDomain: "cluster.local", namespace: "photo", serviceAccount: "web" });
      assert.deepEqual(path, [leaf.certificate, root.certificate]);
    }
  });

  test("a leaf below two intermediates, given in any order among strangers", () => {
    const upper = ca(root, { name: "upper" });
    const lower = ca(upper, { name: "lower" });
    const stranger = ca(undefined, { name: "upper" });
    const intermediates = [lower, stranger, upper].map((party) => party.certificate);
    assert.equal(verify(leafOf(lower), { intermediates }).path.length, 4);
  });

  test("a leaf whose issuers certify each other in a ring, by the one way out of it", () => {
    const [oneKey, twoKey] = [generateKey(), generateKey()];
    const one = ca(root, { name: "one", key: oneKey });
    const two = ca(one, { name: "two", key: twoKey });
    const ring = ca(two, { name: "one", key: oneKey });
    const intermediates = [ring, two, one].map((party) => party.certificate);
    const leaf = leafOf(one);
    const expected = [leaf, ring, two, one, root].map((party) => party.certificate);
    assert.deepEqual(verify(leaf, { intermediates }).path, expected);
  });

  test("a leaf whose issuer shares its name with other roots, with and without key identifiers", () => {
    const others = [ca(undefined), ca(undefined)];
    const roots = [...others, root].map((party) => party.certificate);
    assert.equal(verify(leafOf(root), { roots }).path[1], root.certificate);
    assert.equal(verify(leafOf(root, { extensions: [leafUsage, uriName(URI)] }), { roots }).path[1], root.certificate);
  });

  test("a leaf beside a root of the same name whose key it cannot use", () => {
    const p384 = ca(undefined, {
      key: generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey,
      extensions: [basicConstraints(true), signing],
    });
    const leaf = leafOf(root, { extensions: [leafUsage, uriName(URI)] });
    assert.equal(verify(leaf, { roots: [p384.certificate, root.certificate] }).path[1], root.certificate);
  });
});

describe("verifyChain() refuses", () => {
  test("a leaf that no trusted root has issued, and one that a root of the same name did not sign", () => {
    refuses("no trusted root has issued the certificate", leafOf(ca(undefined, { name: "other" })));
    refuses("no trusted root has issued the certificate", leafOf(ca(undefined)));
    refuses("an issuer's certificate did not sign the one below it", leafOf(ca(undefined), { extensions: [leafUsage, uriName(URI)] }));
    refuses("no trusted root has issued the certificate", leafOf(root), { roots: [] });
  });

  test("an intermediate that the peer brings as if it were a root", () => {
    const own = ca(undefined, { name: "own" });
    refuses("no trusted root has issued the certificate", leafOf(own), { intermediates: [own.certificate] });
  });

  test("certificates outside their validity, at either end, on every level", () => {
    const leaf = leafOf(root);
    refuses("the certificate is not valid yet", leaf, { time: NOW - DAY - 1 });
    refuses("the certificate has expired", leaf, { time: NOW + DAY + 1 });
    const expired = ca(undefined, { to: NOW - 1000 });
    refuses("an issuer's certificate has expired", leafOf(expired), { roots: [expired.certificate] });
    const lower = ca(root, { name: "lower", from: NOW + 1000 });
    refuses("an issuer's certificate is not valid yet", leafOf(lower), { intermediates: [lower.certificate] });
  });

  test("an issuer that is a leaf, or may not sign certificates", () => {
    const leaf = leafOf(root, { name: "leaf" });
    refuses("an issuer's certificate is not a CA's", leafOf(leaf), { intermediates: [leaf.certificate] });
    const mute = ca(root, { name: "mute", extensions: [basicConstraints(true), keyUsage(KEY_USAGE.cRLSign), ...akid(root)] });
    refuses("an issuer's certificate has no key usage `keyCertSign`", leafOf(mute), { intermediates: [mute.certificate] });
  });

  test("a path longer than an issuer allows, or than anyone needs", () => {
    const noneBelow = extension(OID.basicConstraints, true, sequence(boolean(true), unsignedInteger(Buffer.from([0]))));
    const strict = ca(undefined, { name: "strict", extensions: [noneBelow, signing] });
    const lower = ca(strict, { name: "lower" });
    const input = { roots: [strict.certificate], intermediates: [lower.certificate] };
    assert.equal(verify(leafOf(strict), input).path.length, 2);
    refuses("an issuer's certificate allows fewer CA certificates below it", leafOf(lower), input);
    const chain = [root];
    for (let i = 0; i < 6; i++) chain.push(ca(chain.at(-1), { name: `ca${i}` }));
    const last = chain.at(-1) ?? root;
    refuses("no trusted root has issued the certificate", leafOf(last), {
      intermediates: chain.slice(1).map((party) => party.certificate),
    });
  });

  test("a heap of look-alike issuers before it costs much", () => {
    const lookalikes = Array.from({ length: 20 }, () => ca(undefined, { extensions: [basicConstraints(true), signing] }).certificate);
    refuses("the certificate has too many possible issuers", leafOf(root, { extensions: [leafUsage, uriName(URI)] }), {
      roots: lookalikes,
    });
  });

  test("a certificate for another purpose, also further up", () => {
    const serverOnly = leafOf(root, { extensions: [leafUsage, extendedKeyUsage(OID.serverAuth), uriName(URI)] });
    refuses("the certificate is not meant for a client", serverOnly);
    assert.equal(verify(serverOnly, { purpose: "server" }).path.length, 2);
    const lower = ca(root, { name: "lower", extensions: [basicConstraints(true), signing, extendedKeyUsage(OID.serverAuth)] });
    refuses("an issuer's certificate is not meant for a client", leafOf(lower), { intermediates: [lower.certificate] });
  });

  test("a leaf that is a CA's, may sign certificates, or has no key usage", () => {
    refuses("the certificate is a CA's", ca(root, { name: "lower" }));
    refuses(
      "the certificate may sign certificates or revocation lists",
      leafOf(root, { extensions: [keyUsage(KEY_USAGE.digitalSignature | KEY_USAGE.keyCertSign), uriName(URI)] }),
    );
    refuses("the certificate has no key usage `digitalSignature`", leafOf(root, { extensions: [uriName(URI)] }));
  });

  test("any but one URI name, and a URI that is no workload identity", () => {
    const two = sequence(element(0x86, Buffer.from(URI)), element(0x86, Buffer.from("spiffe://cluster.local/ns/a/sa/b")));
    refuses(
      "the certificate has 2 URI names where exactly one belongs",
      leafOf(root, { extensions: [leafUsage, extension(OID.subjectAltName, true, two)] }),
    );
    refuses("the certificate has no URI names where exactly one belongs", leafOf(root, { extensions: [leafUsage] }));
    const dns = extension(OID.subjectAltName, true, sequence(element(0x82, Buffer.from("*.cluster.local"))));
    refuses("the certificate has no URI names where exactly one belongs", leafOf(root, { extensions: [leafUsage, dns] }));
    const disguised = element(0xa0, Buffer.from("06032a0304", "hex"), element(0xa0, element(0x86, Buffer.from(URI))));
    refuses(
      "the certificate has no URI names where exactly one belongs",
      leafOf(root, { extensions: [leafUsage, extension(OID.subjectAltName, true, sequence(disguised))] }),
    );
    for (const uri of ["spiffe://cluster.local/ns/*/sa/web", "https://cluster.local/ns/a/sa/b", "spiffe://cluster.local/"]) {
      refuses(/is not a workload identity/, leafOf(root, { extensions: [leafUsage, uriName(uri)] }));
    }
  });

  test("critical extensions that it does not know, and name constraints of any kind", () => {
    const unknown = sequence(Buffer.from("06032a0304", "hex"), boolean(true), octetString(Buffer.alloc(0)));
    refuses(
      "the certificate has an extension that must be processed and is not supported",
      leafOf(root, { extensions: [leafUsage, uriName(URI), unknown] }),
    );
    for (const critical of [true, false]) {
      const constrained = ca(undefined, {
        extensions: [basicConstraints(true), signing, extension(OID.nameConstraints, critical, sequence())],
      });
      refuses("an issuer's certificate has an extension that must be processed and is not supported", leafOf(constrained), {
        roots: [constrained.certificate],
      });
    }
  });

  test("a leaf whose bytes were changed after it was signed", () => {
    const der = Buffer.from(leafOf(root).certificate.der);
    der.write("eve", der.indexOf("sa/web") + 3, "latin1");
    refuses("an issuer's certificate did not sign the one below it", { ...root, certificate: parseCertificate(der) });
  });
});
