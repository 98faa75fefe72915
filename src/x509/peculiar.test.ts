import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import { parseCertificate } from "./certificate.ts";
import { parseCsr } from "./csr.ts";
import { buildCsr, generateKey, spkiOf } from "./csr-builder.ts";
import { parseGeneralNames } from "./general-names.ts";
import { Issuer, makeRoot } from "./issuer.ts";
import { Profile } from "./profile.ts";

/** The part of @peculiar/x509 that is used here: its own types need those of a browser. */
interface Peculiar {
  readonly Pkcs10CertificateRequest: new (pem: string) => Request;
  readonly Pkcs10CertificateRequestGenerator: { create(options: object): Promise<Request> };
  readonly SubjectAlternativeNameExtension: new (names: readonly object[]) => object;
  readonly X509Certificate: new (der: Uint8Array) => PeculiarCertificate;
}

interface Request {
  toString(format: "pem"): string;
  verify(): Promise<boolean>;
  getExtension(id: string): Extension | null;
}

interface PeculiarCertificate {
  readonly publicKey: object;
  readonly serialNumber: string;
  readonly notAfter: Date;
  readonly extensions: readonly Extension[];
  verify(options: { readonly publicKey: object; readonly date: Date }): Promise<boolean>;
}

interface Extension {
  readonly type: string;
  readonly critical: boolean;
  readonly value: ArrayBuffer;
}

const require = createRequire(import.meta.url);

function loadPeculiar(): Peculiar {
  /** Its injector asks for the decorator metadata polyfill when it is loaded; nothing used here reads metadata. */
  Object.assign(Reflect, { getMetadata: () => undefined, getOwnMetadata: () => undefined });
  return require("@peculiar/x509");
}

const NOW = Date.UTC(2026, 10, 22, 12, 0, 0);
const URI = "spiffe://cluster.local/ns/photo/sa/web";
const SAN = "2.5.29.17";
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const peculiar = loadPeculiar();

describe("beside @peculiar/x509", () => {
  test("a request made by buildCsr() verifies there, with the same name", async () => {
    const theirs = new peculiar.Pkcs10CertificateRequest(buildCsr(generateKey(), URI));
    assert.equal(await theirs.verify(), true);
    const extension = theirs.getExtension(SAN);
    assert.equal(extension?.critical, true);
    assert.deepEqual(parseGeneralNames(new Uint8Array(extension?.value ?? new ArrayBuffer())), [{ kind: "uri", value: URI }]);
  });

  test("a request made there verifies here, with the same names", async () => {
    const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
    const names = [
      { type: "url", value: URI },
      { type: "dns", value: "a.b" },
    ];
    const extensions = [new peculiar.SubjectAlternativeNameExtension(names)];
    const theirs = await peculiar.Pkcs10CertificateRequestGenerator.create({
      name: "CN=web, O=photo",
      keys,
      signingAlgorithm: ALGORITHM,
      extensions,
    });
    assert.deepEqual(parseCsr(theirs.toString("pem")).names, [
      { kind: "uri", value: URI },
      { kind: "dns", value: "a.b" },
    ]);
  });

  test("a certificate issued here verifies there, with the same fields and the same critical extensions", async () => {
    const key = generateKey();
    const root = makeRoot(key, { organization: "cluster.local", now: NOW, backdateSeconds: 120 });
    const issuer = new Issuer(root, key);
    const profile = Profile.from({ defaultTtlSeconds: 86_400, maxTtlSeconds: 86_400, backdateSeconds: 120, dnsNames: "refused" });
    const request = { spki: spkiOf(generateKey()), uri: URI, dnsNames: [], ttlSeconds: 0, now: NOW };
    const ours = issuer.sign(issuer.prepare(profile, request));
    const theirs = new peculiar.X509Certificate(ours.der);
    const { publicKey } = new peculiar.X509Certificate(root.der);
    assert.equal(await theirs.verify({ publicKey, date: new Date(NOW) }), true);
    assert.equal(theirs.serialNumber, ours.serial);
    assert.equal(theirs.notAfter.getTime(), parseCertificate(ours.der).notAfter);
    const found = Array.from(theirs.extensions, ({ type, critical }) => `${type}${critical ? " critical" : ""}`);
    const expected = ["2.5.29.14", "2.5.29.15 critical", "2.5.29.17 critical", "2.5.29.19 critical", "2.5.29.35", "2.5.29.37"];
    assert.deepEqual(found.sort(), expected);
  });
});
