import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { describe, test } from "node:test";
import fc from "fast-check";
import { AppError } from "../core/error.ts";
import { parseCertificate } from "./certificate.ts";
import { parseCsr } from "./csr.ts";
import { buildCsr, generateKey, spkiOf } from "./csr-builder.ts";
import { bitString, element, sequence, set, unsignedInteger } from "./der-writer.ts";
import { extension } from "./extensions.ts";
import { formatGeneralNames } from "./general-names.ts";
import { makeRoot } from "./issuer.ts";
import { KEY_KINDS } from "./key-kinds.ts";
import { OID } from "./oids.ts";
import { formatPem, parseOnlyPem } from "./pem.ts";
import { writeSigned } from "./signed.ts";

const URI = "spiffe://cluster.local/ns/photo/sa/web";
const key = generateKey();
const validPem = buildCsr(key, URI);
const validDer = parseOnlyPem(validPem, "CERTIFICATE REQUEST");
const ZERO = unsignedInteger(Buffer.from([0]));

function refuses(input: string | Uint8Array, message: RegExp): void {
  assert.throws(() => parseCsr(input), { name: "AppError", code: "invalid-argument", message });
}

/** A signed request with these attributes. */
function withAttributes(...attributes: readonly Uint8Array[]): Uint8Array {
  return writeSigned(sequence(ZERO, sequence(), spkiOf(key), element(0xa0, ...attributes)), key);
}

const san = (uri: string) => extension(OID.subjectAltName, true, formatGeneralNames(uri));
const extensionRequest = (...extensions: readonly Uint8Array[]) => sequence(OID.extensionRequest.der, set(sequence(...extensions)));

describe("parseCsr()", () => {
  test("reads the key and the names of a request from PEM and from DER", () => {
    const expected = { spki: spkiOf(key), names: [{ kind: "uri", value: URI }] };
    for (const input of [validPem, validDer]) {
      const { spki, names } = parseCsr(input);
      assert.deepEqual({ spki: Buffer.from(spki), names }, expected);
    }
  });

  test("takes a request without attributes, and one with attributes that it does not need", () => {
    assert.deepEqual(parseCsr(withAttributes()).names, []);
    const challenge = sequence(Buffer.from("06092a864886f70d010907", "hex"), set(Buffer.from("0c0161", "hex")));
    assert.deepEqual(parseCsr(withAttributes(challenge, extensionRequest())).names, []);
  });

  for (const kind of ["P-256", "P-384", "RSA", "Ed25519"] as const) {
    test(`takes a request with a key of ${kind}, signed as its kind signs`, () => {
      const own = generateKey(kind);
      assert.deepEqual(Buffer.from(parseCsr(buildCsr(own, URI)).spki), Buffer.from(spkiOf(own)));
    });
  }

  test("refuses a key of small order, for which anybody can make the signature", () => {
    const point = Buffer.from(`01${"00".repeat(31)}`, "hex");
    const spki = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), point]);
    const body = sequence(ZERO, sequence(), spki, element(0xa0));
    const forged = sequence(body, KEY_KINDS.ed25519.signature.identifier, bitString(Buffer.concat([point, Buffer.alloc(32)])));
    refuses(forged, /an Ed25519 point of small order/);
  });

  test("refuses a request that is signed with another key (proof of possession)", () => {
    const other = sequence(ZERO, sequence(), spkiOf(generateKey()), element(0xa0));
    refuses(writeSigned(other, key), /not signed by the key it holds/);
    const flipped = Buffer.from(validDer);
    const last = flipped.length - 1;
    flipped[last] = (flipped[last] ?? 0) ^ 1;
    refuses(flipped, /not signed by the key it holds/);
  });

  test("refuses other keys by name before it looks at their signature", () => {
    const rsa = generateKeyPairSync("rsa", { modulusLength: 1024 });
    refuses(
      writeSigned(sequence(ZERO, sequence(), spkiOf(rsa.privateKey), element(0xa0)), rsa.privateKey),
      /the public key is RSA of 1024 bits; accepted are/,
    );
  });

  test("refuses another signature algorithm, another version and trailing bytes", () => {
    const sha384 = Buffer.from(validDer);
    const at = sha384.lastIndexOf(OID.ecdsaWithSha256.der) + OID.ecdsaWithSha256.der.length - 1;
    sha384[at] = 3;
    refuses(sha384, /not signed by the key it holds/);
    const sha224 = Buffer.from(validDer);
    sha224[at] = 1;
    refuses(sha224, /not signed with ECDSA, RSA \(PKCS #1 v1\.5\) or Ed25519 and SHA-2/);
    refuses(writeSigned(sequence(unsignedInteger(Buffer.from([1])), sequence(), spkiOf(key), element(0xa0)), key), /not of version 1/);
    refuses(Buffer.concat([validDer, Buffer.from([5, 0])]), /after its last field/);
    refuses(writeSigned(sequence(ZERO, sequence(), spkiOf(key)), key), /ends too early/);
    refuses(writeSigned(sequence(ZERO, sequence(), spkiOf(key), element(0xa0), element(0xa0)), key), /after its last field/);
  });

  test("refuses names asked for twice, so that nobody reads the wrong one", () => {
    refuses(withAttributes(extensionRequest(san(URI), san("spiffe://a/b"))), /an extension twice/);
    refuses(withAttributes(extensionRequest(san(URI)), extensionRequest(san("spiffe://a/b"))), /asks for extensions twice/);
    refuses(
      withAttributes(sequence(OID.extensionRequest.der, set(sequence(san(URI)), sequence(san("spiffe://a/b"))))),
      /after its last field/,
    );
  });

  test("bounds size, attributes and extensions", () => {
    refuses("A".repeat(20_000), /larger than 8192 bytes/);
    refuses(Buffer.alloc(9_000), /larger than 8192 bytes/);
    refuses(withAttributes(...Array.from({ length: 17 }, () => sequence(Buffer.from("06012a", "hex"), set()))), /more than 16 attributes/);
    const many = Array.from({ length: 33 }, (_, i) => sequence(Buffer.from([0x06, 0x02, 0x2a, i]), Buffer.from("0400", "hex")));
    refuses(withAttributes(extensionRequest(...many)), /more than 32 extensions/);
  });

  test("refuses PEM that is not exactly one request", () => {
    refuses(validPem + validPem, /2 blocks where exactly one/);
    refuses("hello", /blocks alone/);
    refuses(formatPem("CERTIFICATE", validDer), /blocks alone/);
  });
});

/** `bytes` after a few random edits: a byte changed, a run cut out, a run put in, the end cut off. */
function mutated(bytes: Uint8Array): fc.Arbitrary<Buffer> {
  const at = fc.nat({ max: bytes.length - 1 });
  const edit = fc.oneof(
    fc.record({ kind: fc.constant("set" as const), at, byte: fc.nat({ max: 255 }) }),
    fc.record({ kind: fc.constant("cut" as const), at, count: fc.integer({ min: 1, max: 40 }) }),
    fc.record({ kind: fc.constant("insert" as const), at, run: fc.uint8Array({ minLength: 1, maxLength: 20 }) }),
    fc.record({ kind: fc.constant("truncate" as const), at }),
  );
  return fc.array(edit, { minLength: 1, maxLength: 4 }).map((edits) =>
    edits.reduce<Buffer>((der, e) => {
      if (e.kind === "set") return Buffer.concat([der.subarray(0, e.at), Buffer.from([e.byte]), der.subarray(e.at + 1)]);
      if (e.kind === "cut") return Buffer.concat([der.subarray(0, e.at), der.subarray(e.at + e.count)]);
      if (e.kind === "insert") return Buffer.concat([der.subarray(0, e.at), e.run, der.subarray(e.at)]);
      return der.subarray(0, e.at);
    }, Buffer.from(bytes)),
  );
}

function outcome(parse: () => unknown): string {
  try {
    parse();
    return "parsed";
  } catch (error) {
    return error instanceof AppError ? error.code : `escaped: ${String(error)}`;
  }
}

describe("whatever comes in, only AppError invalid-argument comes out", () => {
  test("of parseCsr(), for mutated requests, and no mutant proves possession of the key with other content", () => {
    fc.assert(
      fc.property(mutated(validDer), (der) => {
        fc.pre(!der.equals(validDer));
        assert.equal(
          outcome(() => parseCsr(der)),
          "invalid-argument",
        );
      }),
      { numRuns: 3000 },
    );
  });

  test("of parseCertificate(), for mutated certificates", () => {
    const { der } = makeRoot(key, { organization: "cluster.local", now: Date.now(), backdateSeconds: 120 });
    fc.assert(
      fc.property(mutated(der), (mutant) => {
        assert.match(
          outcome(() => parseCertificate(mutant)),
          /^(parsed|invalid-argument)$/,
        );
      }),
      { numRuns: 3000 },
    );
  });

  test("of parseCsr(), for arbitrary text and bytes", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: "binary" }), fc.uint8Array({ maxLength: 200 })), (input) => {
        assert.equal(
          outcome(() => parseCsr(input)),
          "invalid-argument",
        );
      }),
      { numRuns: 1000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 100 }), (body) => {
        assert.equal(
          outcome(() => parseCsr(formatPem("CERTIFICATE REQUEST", body))),
          "invalid-argument",
        );
      }),
      { numRuns: 1000 },
    );
  });
});
