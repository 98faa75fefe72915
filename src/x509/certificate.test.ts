import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseCertificate, parseCertificates } from "./certificate.ts";
import { generateKey, spkiOf } from "./csr-builder.ts";
import { bitString, boolean, element, octetString, sequence, unsignedInteger } from "./der-writer.ts";
import { basicConstraints } from "./extensions.ts";
import { KEY_KINDS } from "./key-kinds.ts";
import { OID } from "./oids.ts";
import { formatPem } from "./pem.ts";
import { writeSigned } from "./signed.ts";
import { organizationName } from "./tbs.ts";
import { time } from "./time.ts";

const key = generateKey();
const hex = (text: string) => Buffer.from(text, "hex");
const OTHER_ALGORITHM = sequence(hex("06082a8648ce3d040303"));
const NOW = Date.UTC(2026, 10, 22);

/** The fields of a certificate's body, each as it stands in a good one. */
const GOOD = {
  version: element(0xa0, unsignedInteger(hex("02"))),
  serial: unsignedInteger(hex("0123")),
  algorithm: KEY_KINDS.p256.signature.identifier,
  issuer: organizationName("a"),
  validity: sequence(time(NOW), time(NOW + 1000)),
  subject: organizationName("b"),
  spki: spkiOf(key),
  extensions: element(0xa3, sequence(basicConstraints(false))),
  after: new Uint8Array(),
};

const certificate = (fields: Partial<typeof GOOD>) => writeSigned(sequence(...Object.values({ ...GOOD, ...fields })), key);

function refuses(fields: Partial<typeof GOOD>, message: RegExp): void {
  assert.throws(() => parseCertificate(certificate(fields)), { name: "AppError", code: "invalid-argument", message });
}

describe("parseCertificate()", () => {
  test("reads the fields of a certificate", () => {
    const { serial, notBefore, notAfter, isCa, names, keyUsage } = parseCertificate(certificate({}));
    assert.deepEqual(
      { serial, notBefore, notAfter, isCa, names, keyUsage },
      {
        serial: "0123",
        notBefore: NOW,
        notAfter: NOW + 1000,
        isCa: false,
        names: [],
        keyUsage: undefined,
      },
    );
  });

  test("refuses every version but 3", () => {
    refuses({ version: new Uint8Array() }, /not X\.509 version 3/);
    refuses({ version: element(0xa0, unsignedInteger(hex("01"))) }, /not X\.509 version 3/);
    refuses({ version: element(0xa0, unsignedInteger(hex("02")), unsignedInteger(hex("02"))) }, /after its last field/);
  });

  test("refuses serials that are negative or longer than 20 octets, and takes one of 20 whose highest bit is set", () => {
    refuses({ serial: element(0x02, hex("80")) }, /not 1 to 20 octets and positive/);
    refuses({ serial: unsignedInteger(Buffer.alloc(21, 1)) }, /not 1 to 20 octets and positive/);
    refuses({ serial: element(0x02, hex("00")) }, /not 1 to 20 octets and positive/);
    assert.equal(parseCertificate(certificate({ serial: unsignedInteger(Buffer.alloc(20, 0xff)) })).serial, "ff".repeat(20));
  });

  test("refuses two different signature algorithms inside and outside", () => {
    refuses({ algorithm: OTHER_ALGORITHM }, /names two signature algorithms/);
  });

  test("refuses a signature of odd bits", () => {
    const der = sequence(sequence(...Object.values(GOOD)), KEY_KINDS.p256.signature.identifier, bitString(hex("0100"), 1));
    assert.throws(() => parseCertificate(der), { code: "invalid-argument", message: /not whole bytes/ });
  });

  test("refuses unique identifiers, and what stands after the extensions", () => {
    refuses({ spki: Buffer.concat([GOOD.spki, element(0x81, hex("00"))]) }, /DER tag 129 where 163 belongs/);
    refuses({ after: hex("0500") }, /after its last field/);
    refuses({ extensions: new Uint8Array() }, /ends too early/);
  });

  test("refuses extensions that come twice or write out the default `critical`", () => {
    refuses({ extensions: element(0xa3, sequence(basicConstraints(false), basicConstraints(true))) }, /an extension twice/);
    const explicit = sequence(OID.basicConstraints.der, boolean(false), octetString(sequence()));
    refuses({ extensions: element(0xa3, sequence(explicit)) }, /writes out a default/);
  });

  test("refuses extensions whose values are not what they should be", () => {
    const withValue = (id: Uint8Array, value: Uint8Array) => ({ extensions: element(0xa3, sequence(sequence(id, octetString(value)))) });
    refuses(withValue(OID.basicConstraints.der, hex("0500")), /the basic constraints has DER tag 5/);
    refuses(withValue(OID.basicConstraints.der, sequence(boolean(true), unsignedInteger(hex("80")))), /impossible path length/);
    refuses(withValue(OID.basicConstraints.der, sequence(unsignedInteger(hex("01")))), /after its last field/);
    refuses(withValue(OID.keyUsage.der, hex("0400")), /the key usage has DER tag 4/);
    refuses(withValue(OID.extendedKeyUsage.der, hex("30020500")), /the extended key usage has DER tag 5/);
    refuses(withValue(OID.subjectAltName.der, sequence()), /has no name/);
    refuses(withValue(OID.subjectKeyIdentifier.der, new Uint8Array()), /the subject key identifier is empty/);
  });
});

describe("parseCertificates()", () => {
  test("reads a bundle in its order, and refuses an empty one", () => {
    const [first, second] = [certificate({}), certificate({ serial: unsignedInteger(hex("07")) })];
    assert.deepEqual(
      parseCertificates(formatPem("CERTIFICATE", first) + formatPem("CERTIFICATE", second)).map(({ serial }) => serial),
      ["0123", "07"],
    );
    assert.throws(() => parseCertificates(" \n"), { code: "invalid-argument", message: "the PEM text has no certificate" });
  });
});
