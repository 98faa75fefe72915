/** `garrison demo` with the embedded proxy, and where it cannot run. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { runDemo, takeTurn } from "./example.ts";
import { garrison } from "./garrison.ts";

test("`garrison demo --proxy embedded` ends with 0, every row is as expected, and nothing is left running", { timeout: 120_000 }, (t) =>
  runDemo(t, "embedded"),
);

test("`garrison demo` says which of the example's ports is in use, and starts nothing", { timeout: 120_000 }, async (t) => {
  await takeTurn(t);
  const squatter = createServer((socket) => socket.destroy()).listen(17_223, "127.0.0.1");
  t.after(() => squatter.close());
  await once(squatter, "listening");
  const { exit, stderr } = await garrison(["demo", "--exit", "--proxy", "embedded"]);
  assert.equal(exit, 4);
  assert.match(
    stderr,
    /^garrison: 127\.0\.0\.1:17223: another process listens there already, and the example's ports are fixed\n {2}help: .*`garrison demo`/,
  );
});
