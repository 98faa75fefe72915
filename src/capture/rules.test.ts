import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type CaptureOptions, DEFAULT_CAPTURE, parseChoice, parseNumber, parsePorts, parseRanges } from "./options.ts";
import { captureRules, REMOVE_RULES } from "./rules.ts";

function rulesOf(more: Partial<CaptureOptions>): readonly string[] {
  return captureRules({ ...DEFAULT_CAPTURE, ...more })
    .split("\n")
    .map((line) => line.trim());
}

describe("the rules of a captured network", () => {
  it("take the place of what was there in one transaction", () => {
    const lines = rulesOf({});
    assert.deepEqual(lines.slice(0, 3), ["table inet garrison {}", "delete table inet garrison", "table inet garrison {"]);
    assert.equal(REMOVE_RULES, "table inet garrison {}\ndelete table inet garrison\n");
  });

  it("leave the proxy's own connections alone, and send all others to it", () => {
    const lines = rulesOf({ proxyUid: 700 });
    const last = lines.indexOf("meta l4proto tcp redirect to :15001");
    const own = lines.indexOf("meta skuid 700 return");
    assert.ok(own > 0 && own < last);
    assert.ok(!lines.some((line) => line.includes("skgid")));
    assert.ok(lines.includes("meta l4proto tcp redirect to :15006"));
  });

  it("capture only the ports and ranges that are included, and never those that are excluded", () => {
    const lines = rulesOf({
      includeOutboundIPRanges: ["10.0.0.0/8", "fd00::/8"],
      excludeOutboundIPRanges: ["10.1.0.0/16"],
      includeOutboundPorts: [3306],
      excludeOutboundPorts: [25, 22],
      includeInboundPorts: [8080],
    });
    const order = [
      "tcp dport { 22, 25 } return",
      "ip daddr 10.1.0.0/16 return",
      "tcp dport { 3306 } redirect to :15001",
      "ip daddr 10.0.0.0/8 meta l4proto tcp redirect to :15001",
      "ip6 daddr fd00::/8 meta l4proto tcp redirect to :15001",
    ].map((line) => lines.indexOf(line));
    assert.deepEqual(
      order,
      [...order].sort((left, right) => left - right),
    );
    assert.ok((order[0] ?? -1) > 0);
    assert.ok(!lines.includes("meta l4proto tcp redirect to :15001"));
    assert.ok(lines.includes("tcp dport { 8080 } redirect to :15006"));
    assert.ok(!lines.includes("meta l4proto tcp redirect to :15006"));
  });

  it("are the same for both families: what leaves, what comes in, and the proxy's calls to its own application", () => {
    const lines = rulesOf({});
    for (const [four, six] of [
      ['oifname "lo" ip saddr 127.0.0.6 return', 'oifname "lo" ip6 saddr ::6 return'],
      ["ip daddr 127.0.0.0/8 return", "ip6 daddr ::1 return"],
      [
        'oifname "lo" meta l4proto tcp meta skuid 1337 ip daddr != 127.0.0.0/8 redirect to :15006',
        'oifname "lo" meta l4proto tcp meta skuid 1337 ip6 daddr != ::1 redirect to :15006',
      ],
    ] as const)
      assert.deepEqual([lines.includes(four), lines.includes(six)], [true, true]);
    assert.equal(lines.filter((line) => line.startsWith("table inet")).length, 2);
  });

  it("send questions of DNS elsewhere where they are asked to", () => {
    assert.ok(rulesOf({ dnsPort: 15053 }).includes("meta l4proto { tcp, udp } th dport 53 redirect to :15053"));
    assert.ok(!rulesOf({}).some((line) => line.includes("dport 53")));
  });
});

describe("what is captured, as it is written", () => {
  it("is ports and ranges with commas between them, or all", () => {
    assert.deepEqual(parsePorts("p", "80, 443,80"), [80, 443]);
    assert.deepEqual(parsePorts("p", ""), []);
    assert.deepEqual(parseRanges("r", "10.0.0.1, 10.1.2.3/16,2001:DB8::/32"), ["10.0.0.1/32", "10.1.2.3/16", "2001:db8:0:0:0:0:0:0/32"]);
    assert.equal(parseChoice(parsePorts, "p", " * "), "*");
    assert.equal(parseNumber("n", "1337", 1, 65_535), 1337);
  });

  for (const text of ["0", "65536", "http", "80;flush ruleset", "80 } counter", "-1", "08", "1e3", "80,,81", " "]) {
    it(`is not the ports ${JSON.stringify(text)}`, () => {
      assert.throws(() => parsePorts("--ports", text), /`--ports` is not a port/);
    });
  }

  for (const text of ["localhost", "10.0.0.0/33", "10.0.0.0/8; drop", "::g", "1.2.3"]) {
    it(`is not the ranges ${JSON.stringify(text)}`, () => {
      assert.throws(() => parseRanges("--ranges", text), /is not an IP address or CIDR block/);
    });
  }

  it("is bounded", () => {
    assert.throws(() => parsePorts("--ports", new Array(1025).fill("80").join()), /has 1025 entries, more than 1024/);
    assert.throws(() => parseNumber("--proxy-uid", "0", 1, 10), /is not a number from 1 to 10/);
  });
});
