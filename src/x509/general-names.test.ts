import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { element, sequence } from "./der-writer.ts";
import { formatGeneralNames, parseGeneralNames } from "./general-names.ts";

const text = (tag: number, value: string) => element(tag, Buffer.from(value, "latin1"));

function refuses(der: Uint8Array, message: RegExp): void {
  assert.throws(() => parseGeneralNames(der), { name: "AppError", code: "invalid-argument", message });
}

describe("parseGeneralNames()", () => {
  test("tells the kinds of names apart", () => {
    const der = sequence(
      text(0x86, "spiffe://a/b"),
      text(0x82, "*.example"),
      text(0x81, "a@b"),
      element(0x87, Buffer.from([127, 0, 0, 1])),
      element(0xa4),
    );
    assert.deepEqual(parseGeneralNames(der), [
      { kind: "uri", value: "spiffe://a/b" },
      { kind: "dns", value: "*.example" },
      { kind: "email", value: "a@b" },
      { kind: "ip", value: "7f000001" },
      { kind: "other", value: "164" },
    ]);
  });

  test("refuses a NUL, a line break, a space and bytes above ASCII in a name (SAN truncation, log injection)", () => {
    for (const tag of [0x81, 0x82, 0x86]) {
      for (const bad of ["spiffe://good/\0evil", "a\nb", "a\rb", "a b", "a\x7f", "\xe4"])
        refuses(sequence(text(tag, bad)), /not visible ASCII/);
    }
  });

  test("never takes an otherName for a name, whatever its content says", () => {
    const inner = text(0x86, "spiffe://cluster.local/ns/a/sa/b");
    assert.deepEqual(parseGeneralNames(sequence(element(0xa0, Buffer.from("06032a0304", "hex"), element(0xa0, inner)))), [
      { kind: "other", value: "160" },
    ]);
  });

  test("refuses empty lists, empty and giant names, impossible addresses, and more than 100 names", () => {
    refuses(sequence(), /no name/);
    refuses(sequence(text(0x86, "")), /impossible length/);
    refuses(sequence(text(0x86, "a".repeat(2049))), /impossible length/);
    refuses(sequence(element(0x87, Buffer.alloc(5))), /neither version 4 nor 6/);
    refuses(sequence(...Array.from({ length: 101 }, () => text(0x82, "a"))), /more than 100 names/);
    refuses(Buffer.concat([sequence(text(0x86, "a:b")), Buffer.from([5, 0])]), /after its last field/);
  });
});

describe("formatGeneralNames()", () => {
  test("writes the URI first, and both kinds read back", () => {
    assert.deepEqual(parseGeneralNames(formatGeneralNames("spiffe://a/b", ["localhost"])), [
      { kind: "uri", value: "spiffe://a/b" },
      { kind: "dns", value: "localhost" },
    ]);
  });

  test("never writes what the reader would refuse", () => {
    assert.throws(() => formatGeneralNames("spiffe://a/\0"), { code: "internal" });
    assert.throws(() => formatGeneralNames(""), { code: "internal" });
  });
});
