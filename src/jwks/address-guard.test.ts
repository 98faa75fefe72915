import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseIpBlock } from "../policy/ip-block.ts";
import { AddressGuard } from "./address-guard.ts";

const guard = new AddressGuard([]);

describe("addresses that keys may be fetched from", () => {
  const refused = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.100.100.200",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::127.0.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fc00::1",
    "ff02::1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::1",
    "2001:0:7f00:1::1",
    "not an address",
    "",
  ];
  for (const address of refused) it(`refuses \`${address}\``, () => assert.equal(guard.permissionOf(address), "refused"));

  for (const address of ["8.8.8.8", "172.32.0.1", "100.128.0.1", "169.253.0.1", "2606:4700::1111", "2a00:1450::1"])
    it(`takes \`${address}\`, by HTTPS only`, () => {
      assert.equal(guard.permissionOf(address), "https");
      assert.doesNotThrow(() => guard.check(address, "https:"));
      assert.throws(() => guard.check(address, "http:"), /may be asked by HTTPS only/);
    });

  it("takes what the operator names, by HTTP too, and nothing beside it", () => {
    const named = new AddressGuard([parseIpBlock("10.1.0.0/16"), parseIpBlock("::1")]);
    assert.doesNotThrow(() => named.check("10.1.2.3", "http:"));
    assert.doesNotThrow(() => named.check("::1", "http:"));
    assert.throws(() => named.check("10.2.0.1", "https:"), /`10\.2\.0\.1` is not on the public internet/);
    assert.throws(() => named.check("127.0.0.1", "https:"), /not on the public internet/);
  });
});
