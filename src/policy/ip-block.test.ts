import assert from "node:assert/strict";
import { BlockList, isIPv4, isIPv6, SocketAddress } from "node:net";
import { describe, it } from "node:test";
import fc from "fast-check";
import { AppError } from "../core/error.ts";
import { blockContains, type IpAddress, parseIpAddress, parseIpBlock } from "./ip-block.ts";

function address(text: string): IpAddress {
  const parsed = parseIpAddress(text);
  assert.ok(parsed, `${text} is an address`);
  return parsed;
}

/** The sixteen bytes of an address in IPv6, IPv4 ones mapped: a form to compare in. */
function mapped({ family, bytes }: IpAddress): readonly number[] {
  return family === 6 ? bytes : [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, ...bytes];
}

const octet = fc.integer({ min: 0, max: 255 });
const ipv4 = fc.tuple(octet, octet, octet, octet).map((bytes) => bytes.join("."));
/** Sparse groups, so that `::` and equal prefixes are frequent. */
const group = fc.oneof(
  fc.constant("0"),
  fc.constant("ffff"),
  fc.integer({ min: 0, max: 0xffff }).map((value) => value.toString(16)),
);
const fullIpv6 = fc.array(group, { minLength: 8, maxLength: 8 }).map((groups) => groups.join(":"));
const nearlyIpv6 = fc
  .array(fc.constantFrom("0", "1", "ffff", "10000", "a", "g", ":", "::", "::", ":", ".", "1.2.3.4", "256.1.1.1", "", "01", "%eth0"), {
    maxLength: 12,
  })
  .map((parts) => parts.join(""));
const compressedIpv6 = fc
  .tuple(fc.array(group, { maxLength: 5 }), fc.array(group, { maxLength: 3 }), fc.boolean())
  .map(([head, tail, dotted]) => `${head.join(":")}::${[...tail.slice(0, dotted ? 1 : 3), ...(dotted ? ["192.0.2.33"] : [])].join(":")}`);
const ipv6 = fc.oneof(fullIpv6, compressedIpv6).filter((text) => isIPv6(text) && !isMappedIpv4(text));

function isMappedIpv4(text: string): boolean {
  return parseIpAddress(text)?.family === 4;
}

describe("parseIpAddress", () => {
  it("takes exactly what node:net takes as IPv4", () => {
    fc.assert(
      fc.property(
        fc.oneof(ipv4, fc.string(), nearlyIpv6),
        (text) => (parseIpAddress(text)?.family === 4 && !text.includes(":")) === isIPv4(text),
      ),
    );
  });

  it("takes exactly what node:net takes as IPv6, less zones", () => {
    fc.assert(
      fc.property(fc.oneof(fullIpv6, compressedIpv6, nearlyIpv6), (text) => {
        assert.equal(text.includes(":") && parseIpAddress(text) !== undefined, isIPv6(text) && !text.includes("%"));
      }),
      { numRuns: 1000 },
    );
  });

  it("reads the same address out of each of its spellings", () => {
    fc.assert(
      fc.property(ipv6, (text) => {
        const canonical = new SocketAddress({ address: text, family: "ipv6" }).address;
        assert.deepEqual(parseIpAddress(canonical), parseIpAddress(text));
        assert.deepEqual(parseIpAddress(text.toUpperCase()), parseIpAddress(text));
      }),
    );
  });

  it("reads an IPv4-mapped address as the IPv4 one", () => {
    assert.deepEqual(parseIpAddress("::ffff:10.1.2.3"), { family: 4, bytes: [10, 1, 2, 3] });
    assert.deepEqual(parseIpAddress("::FFFF:0a01:0203"), { family: 4, bytes: [10, 1, 2, 3] });
    assert.deepEqual(parseIpAddress("::10.1.2.3")?.family, 6);
  });

  for (const text of [
    "",
    "1",
    "1.2.3",
    "1.2.3.4.5",
    "01.2.3.4",
    "1.2.3.256",
    "1.2.3.4 ",
    "0x7f.0.0.1",
    "٣.2.3.4",
    ":",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "::1.2.3.4:5",
    "1.2.3.4::",
    "::12345",
    "fe80::1%eth0",
    "[::1]",
  ]) {
    it(`refuses \`${text}\``, () => assert.equal(parseIpAddress(text), undefined));
  }

  it("refuses text of any length in no time", () => {
    assert.equal(parseIpAddress("1:".repeat(1_000_000)), undefined);
    assert.equal(parseIpAddress("::".repeat(30)), undefined);
  });
});

describe("blockContains", () => {
  it("agrees with node:net's BlockList on IPv4", () => {
    fc.assert(
      fc.property(ipv4, fc.integer({ min: 0, max: 32 }), ipv4, fc.boolean(), (network, prefix, other, near) => {
        const probe = near ? `${network.split(".").slice(0, 3).join(".")}.${other.split(".")[3]}` : other;
        const list = new BlockList();
        list.addSubnet(network, prefix, "ipv4");
        assert.equal(blockContains(parseIpBlock(`${network}/${prefix}`), address(probe)), list.check(probe, "ipv4"));
      }),
      { numRuns: 500 },
    );
  });

  it("agrees with node:net's BlockList on IPv6", () => {
    fc.assert(
      fc.property(ipv6, fc.integer({ min: 1, max: 128 }), ipv6, fc.nat({ max: 127 }), (network, prefix, other, flipped) => {
        // One bit away from the network, so that both sides of each prefix's edge are met.
        const bytes = [...mapped(address(network))];
        bytes[flipped >> 3] = (bytes[flipped >> 3] ?? 0) ^ (0x80 >> (flipped & 7));
        const near = Array.from({ length: 8 }, (_, index) =>
          (((bytes[2 * index] ?? 0) << 8) | (bytes[2 * index + 1] ?? 0)).toString(16),
        ).join(":");
        const list = new BlockList();
        list.addSubnet(network, prefix, "ipv6");
        const block = parseIpBlock(`${network}/${prefix}`);
        for (const probe of [near, other].filter((text) => !isMappedIpv4(text)))
          assert.equal(blockContains(block, address(probe)), list.check(probe, "ipv6"));
      }),
      { numRuns: 500 },
    );
  });

  it("contains its own network address and, of a single address, nothing else", () => {
    assert.equal(blockContains(parseIpBlock("192.0.2.7"), address("192.0.2.7")), true);
    assert.equal(blockContains(parseIpBlock("192.0.2.7"), address("192.0.2.6")), false);
    assert.equal(blockContains(parseIpBlock("2001:db8::1"), address("2001:db8::1")), true);
    assert.equal(blockContains(parseIpBlock("2001:db8::1"), address("2001:db8::")), false);
  });

  it("ignores the bits of the network behind its prefix", () => {
    assert.equal(blockContains(parseIpBlock("10.1.2.3/8"), address("10.200.0.1")), true);
    assert.equal(blockContains(parseIpBlock("2001:db8::ffff/32"), address("2001:db8:1::1")), true);
  });

  it("never matches across families, a prefix of 0 included", () => {
    assert.equal(blockContains(parseIpBlock("0.0.0.0/0"), address("::1")), false);
    assert.equal(blockContains(parseIpBlock("::/0"), address("10.0.0.1")), false);
    assert.equal(blockContains(parseIpBlock("0.0.0.0/0"), address("255.255.255.255")), true);
    assert.equal(blockContains(parseIpBlock("::/0"), address("ffff::")), true);
  });

  it("matches an IPv4 peer that a dual-stack socket shows as IPv4-mapped", () => {
    assert.equal(blockContains(parseIpBlock("10.0.0.0/8"), address("::ffff:10.9.9.9")), true);
    assert.equal(blockContains(parseIpBlock("10.0.0.0/8"), address("::ffff:11.9.9.9")), false);
  });

  it("counts the prefix of an IPv4-mapped block from the start of the IPv6 address", () => {
    const block = parseIpBlock("::ffff:10.0.0.0/104");
    assert.deepEqual({ family: block.family, prefix: block.prefix }, { family: 4, prefix: 8 });
    assert.equal(blockContains(block, address("10.9.9.9")), true);
    assert.equal(blockContains(block, address("11.0.0.0")), false);
  });
});

describe("parseIpBlock", () => {
  for (const text of [
    "",
    "/",
    "/8",
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/+8",
    "10.0.0.0/8.0",
    "10.0.0.0/ 8",
    "10.0.0.0/8/8",
    "10.0.0.0/0008",
    "::/129",
    "::ffff:10.0.0.0/95",
    "::ffff:10.0.0.0/8",
    "10.*",
    "10.0.0.0/255.0.0.0",
    "localhost",
  ]) {
    it(`refuses \`${text}\` with what to write instead`, () => {
      assert.throws(
        () => parseIpBlock(text),
        (error) =>
          error instanceof AppError &&
          error.code === "invalid-argument" &&
          error.message.includes(`\`${text}\``) &&
          error.help !== undefined,
      );
    });
  }
});
