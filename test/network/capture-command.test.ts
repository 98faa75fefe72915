/** `garrison capture` in a network namespace of its own: what the kernel holds afterwards. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { garrison } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { network } from "./hosts.ts";

const NOBODY = 65_534;

describe("garrison capture", { timeout: 60_000 }, () => {
  const place = new Place({ after });
  const { host } = network(place, ["host"]);
  const capture = (...args: readonly string[]) => garrison(["capture", ...args], { prefix: host.prefix() });
  const rules = async (): Promise<string> => (await host.run(["nft", "list", "ruleset"])).stdout;

  test("prints its rules, which the kernel takes as they are, and changes nothing", async () => {
    const every = [
      "--include-outbound-ranges",
      "10.0.0.0/8,fd00::/8",
      "--exclude-outbound-ranges",
      "10.1.0.0/16",
      "--include-outbound-ports",
      "3306",
    ];
    const more = ["--exclude-outbound-ports", "22,25", "--include-inbound-ports", "8080,9090", "--dns-port", "15053"];
    const { exit, stdout } = await capture(...every, ...more, "--dry-run");
    assert.deepEqual([exit, await rules()], [0, ""]);
    assert.deepEqual(await host.run(["nft", "-c", "-f", "-"], { input: stdout }), { exit: 0, stdout: "", stderr: "" });
  });

  test("comes to the same rules again, to others where it is told others, and to none with --undo", async () => {
    assert.equal((await capture()).exit, 0);
    const first = await rules();
    assert.match(first, /redirect to :15001/);
    assert.match(first, /redirect to :15006/);
    assert.equal((await capture()).exit, 0);
    assert.equal(await rules(), first);
    assert.equal((await capture("--exclude-outbound-ports", "22")).exit, 0);
    assert.match(await rules(), /tcp dport 22 return/);
    assert.equal((await capture("--undo")).exit, 0);
    assert.equal(await rules(), "");
    assert.equal((await capture("--undo")).exit, 0);
  });

  test("leaves the rules of others alone", async () => {
    await host.run(["nft", "add", "table", "inet", "theirs"]);
    await capture();
    await capture("--undo");
    assert.match(await rules(), /^table inet theirs \{\n\}\n$/);
  });

  test("says what is wrong, and changes nothing", async () => {
    const before = await rules();
    for (const [args, told] of [
      [["--exclude-inbound-ports", "80; flush ruleset"], /`--exclude-inbound-ports` is not a port: `80; flush ruleset`/],
      [["--include-outbound-ranges", "everywhere"], /`everywhere` is not an IP address or CIDR block/],
      [["--proxy-uid", "0"], /`--proxy-uid` is not a number from 1/],
    ] as const) {
      const { exit, stderr } = await capture(...args);
      assert.equal(exit, 2);
      assert.match(stderr, told);
    }
    const { exit, stderr } = await garrison(["capture"], { prefix: host.prefix(NOBODY) });
    assert.equal(exit, 4);
    assert.match(
      stderr,
      /may not change the rules of its network\n {2}help: run it as root, or give the container the capability NET_ADMIN/,
    );
    const { stderr: missing } = await garrison(["capture"], { prefix: [...host.prefix(), "env", `PATH=${place.folder}`] });
    assert.match(missing, /there is no `(nft|ip)` on this machine\n {2}help: install the package/);
    assert.equal(await rules(), before);
  });
});
