/** `garrison audit`: asking the record of a running control plane. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type Decision, enrol, report } from "./caller.ts";
import { CLIENT_IDENTITY, meshFiles, OPEN_RULE, SERVER, SERVER_IDENTITY, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

const place = new Place({ after }, meshFiles(UNUSED_PORTS));

const HOUR_MS = 3_600_000;
const START = Date.now() - HOUR_MS;

/** What the server's proxy decided, a second apart. */
const DECISIONS: readonly Decision[] = [
  { caller: CLIENT_IDENTITY, method: "GET", path: "/open", status: 200, effect: "allow", origin: OPEN_RULE },
  { caller: CLIENT_IDENTITY, method: "GET", path: "/secret", status: 403, effect: "deny", origin: "default" },
  { caller: CLIENT_IDENTITY, method: "DELETE", path: "/open", status: 403, effect: "deny", origin: "default" },
  { caller: "spiffe://example.org/ns/shop/sa/client", method: "GET", path: "/open/a", status: 403, effect: "deny", origin: "default" },
  { effect: "refused", detail: "plaintext where mutual TLS is required" },
].map((decision, index) => ({
  timeMs: BigInt(START + index * 1000),
  protocol: "http",
  service: SERVER,
  sourceIp: "127.0.0.1",
  port: UNUSED_PORTS.inbound,
  ...decision,
}));

let tell: (decisions: readonly Decision[]) => ReturnType<typeof report>;

before(async () => {
  await place.serve();
  const { stdout } = await place.run("token", SERVER);
  const material = await enrol(place.controlPlane(), SERVER_IDENTITY, stdout.trim());
  tell = (decisions) => report(place.controlPlane(), SERVER, decisions, material);
  assert.deepEqual(await tell(DECISIONS), { code: "OK", answer: DECISIONS.length });
});

/** The numbers of the decisions that are printed, in their order. */
async function asked(...flags: readonly string[]): Promise<readonly number[]> {
  const { exit, stdout, stderr } = await place.run("audit", "--json", ...flags);
  assert.deepEqual({ exit, stderr }, { exit: 0, stderr: "" });
  const lines = stdout.split("\n").filter((line) => line !== "");
  return lines.map((line) => (Date.parse(JSON.parse(line).time) - START) / 1000);
}

/** Flags, and which of the decisions they leave. */
const FILTERS: readonly (readonly [flags: readonly string[], left: readonly number[]])[] = [
  [[], [0, 1, 2, 3, 4]],
  [["--effect", "allow"], [0]],
  [
    ["--effect", "deny"],
    [1, 2, 3],
  ],
  [["--effect", "refused"], [4]],
  [
    ["--caller", "shop/client"],
    [0, 1, 2, 3],
  ],
  [
    ["--caller", CLIENT_IDENTITY],
    [0, 1, 2],
  ],
  [["--caller", "none"], [4]],
  [["--method", "DELETE"], [2]],
  [
    ["--path", "/open"],
    [0, 2],
  ],
  [
    ["--path", "/open*"],
    [0, 2, 3],
  ],
  [["--origin", OPEN_RULE], [0]],
  [
    ["--origin", "default", "--method", "GET"],
    [1, 3],
  ],
  [
    ["--service", SERVER, "--workload", SERVER],
    [0, 1, 2, 3, 4],
  ],
  [["--workload", "shop/client"], []],
  [
    ["--since", new Date(START + 2000).toISOString()],
    [2, 3, 4],
  ],
  [
    ["--until", new Date(START + 2000).toISOString()],
    [0, 1],
  ],
  [["--since", "30m"], []],
  [
    ["--limit", "2"],
    [3, 4],
  ],
  [
    ["--limit", "2", "--order", "oldest"],
    [0, 1],
  ],
];

describe("garrison audit", { timeout: 60_000, concurrency: 2 }, () => {
  for (const [flags, left] of FILTERS) {
    test(`\`${["--json", ...flags].join(" ").replaceAll(new Date(START + 2000).toISOString(), "TIME")}\` prints ${left.length} of ${DECISIONS.length}`, async () => {
      assert.deepEqual(await asked(...flags), left);
    });
  }
});

describe("garrison audit, for people", { timeout: 60_000 }, () => {
  test("prints who, what, and the rule that decided, the newest at the end", async () => {
    const { stdout } = await place.run("audit", "--limit", "5");
    const columns = stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.replaceAll(/ +/g, " ").replace(/^ (\d+) \S+Z /, "$1 "));
    assert.deepEqual(columns, [
      "1 ALLOW shop/client -> shop/server GET /open 200 by shop/client-reads[0]",
      "2 DENY shop/client -> shop/server GET /secret 403 by default",
      "3 DENY shop/client -> shop/server DELETE /open 403 by default",
      "4 DENY spiffe://example.org/ns/shop/sa/client -> shop/server GET /open/a 403 by default",
      "5 REFUSED (127.0.0.1) -> shop/server http (plaintext where mutual TLS is required)",
    ]);
  });

  test("says on stderr that nothing fits, and nothing where a program asks", async () => {
    const nothing = await place.run("audit", "--workload", "shop/nobody");
    assert.deepEqual([nothing.exit, nothing.stdout, nothing.stderr], [0, "", "the record has no decision that fits\n"]);
    const json = await place.run("audit", "--workload", "shop/nobody", "--json");
    assert.deepEqual([json.exit, json.stdout, json.stderr], [0, "", ""]);
  });

  test("with --follow prints what is there and then what comes, until it is ended", async () => {
    const follow = place.start(["audit", "--follow", "--since", "10m"]);
    await tell([{ ...DECISIONS[0], timeMs: BigInt(Date.now()), path: "/now" }]);
    assert.match(await follow.line(/ALLOW/), / GET \/now 200 by shop\/client-reads\[0\]$/);
    const mark = follow.mark;
    await tell([{ ...DECISIONS[1], timeMs: BigInt(Date.now()), path: "/later\u001b[2J" }]);
    assert.match(await follow.line(/DENY/, mark), / GET \/later\\x1b\[2J 403 by default$/);
    assert.equal(await follow.stop(), "SIGTERM");
  });
});

test("garrison audit --follow says that the control plane has gone, and what to ask when it is back", { timeout: 60_000 }, async (t) => {
  const other = new Place(t, meshFiles(UNUSED_PORTS));
  const serve = await other.serve();
  const material = await enrol(other.controlPlane(), SERVER_IDENTITY, (await other.run("token", SERVER)).stdout.trim());
  const follow = other.start(["audit", "--follow", "--since", "2h"]);
  await report(other.controlPlane(), SERVER, DECISIONS, material);
  await follow.line(/REFUSED/);
  await serve.kill();
  assert.equal(await follow.ended, 4);
  assert.match(follow.output, /garrison: the control plane has gone in the middle of its answer\n {2}help: .*--since\n$/);
});
