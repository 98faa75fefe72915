import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { RecordingLogger } from "../../../test/fakes/recording-logger.ts";
import { parseResolvConf, ResolvConf } from "./resolv-conf.ts";

describe("the machine's resolver configuration", () => {
  it("names servers and search domains; what it says besides means nothing", () => {
    const text = [
      "# comment",
      "nameserver 10.0.0.2 ; the first",
      "\tnameserver\tfd00::53",
      "nameserver fe80::1%eth0",
      "nameserver example.org",
      "nameserver",
      "search old.example",
      "options ndots:5",
      "search Corp.Example. svc.corp.example",
    ].join("\n");
    const { servers, search } = parseResolvConf(text);
    assert.deepEqual(
      servers.map(({ address, port }) => `${address} ${port}`),
      ["10.0.0.2 53", "fd00::53 53", "fe80::1%eth0 53"],
    );
    assert.deepEqual(search, ["corp.example", "svc.corp.example"]);
    assert.deepEqual(parseResolvConf("domain Corp.example\n").search, ["corp.example"]);
    assert.deepEqual(parseResolvConf(""), { servers: [], search: [] });
  });

  it("is of the true servers, where systemd-resolved stands in for them", (t) => {
    const folder = mkdtempSync(join(tmpdir(), "garrison-resolv-"));
    t.after(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, "stub"), "nameserver 127.0.0.53\nsearch corp.example\n");
    writeFileSync(join(folder, "servers"), "nameserver 10.0.0.2\nsearch other.example\n");
    const { servers, search } = new ResolvConf(join(folder, "stub"), () => 0, new RecordingLogger(), join(folder, "servers")).current;
    assert.deepEqual([servers, search], [[{ address: "10.0.0.2", port: 53 }], ["corp.example"]]);
  });

  it("is followed as it changes, and names nobody who would ask here again", (t) => {
    const folder = mkdtempSync(join(tmpdir(), "garrison-resolv-"));
    t.after(() => rmSync(folder, { recursive: true }));
    const file = join(folder, "resolv.conf");
    const logger = new RecordingLogger();
    let now = 0;
    const conf = new ResolvConf(file, () => now, logger);
    assert.deepEqual(conf.current.servers, []);
    writeFileSync(
      file,
      "nameserver 127.0.0.1\nnameserver 10.0.0.2\nnameserver ::1\nnameserver 10.0.0.3\nnameserver 10.0.0.4\nnameserver 10.0.0.5\n",
    );
    assert.deepEqual(conf.current.servers, []);
    now = 5_000;
    assert.deepEqual(
      conf.current.servers.map(({ address }) => address),
      ["10.0.0.2", "10.0.0.3", "10.0.0.4"],
    );
    writeFileSync(file, "nameserver 127.0.0.1\n");
    now = 10_000;
    assert.deepEqual(conf.current.servers, []);
    assert.deepEqual(
      logger.lines.map(({ level }) => level),
      ["warn", "info", "warn"],
    );
  });
});
