/** `garrison demo` on the photo example, whose ports are fixed in its YAML: whoever runs it waits until nobody else does. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Row } from "../../src/cli/demo/row.ts";
import { until } from "../fakes/processes.ts";
import { garrison } from "./garrison.ts";
import { isListening } from "./scene.ts";

const MESH = join(import.meta.dirname, "..", "..", "examples", "photo", "mesh");
/** Not one of the example's. Whoever listens there has the turn; the system ends it with the process, however that ends. */
const TURN_PORT = 17_100;
const PATIENCE_MS = 60_000;

/** Every port that the example's proxies listen on. */
function portsOfExample(): readonly number[] {
  const texts = readdirSync(MESH).map((file) => readFileSync(join(MESH, file), "utf8"));
  return texts.flatMap((text) => [...text.matchAll(/number: (\d+)/g)].map(([, port]) => Number(port)));
}

/** Waits for the turn, and for the ports; both are free again after the test. */
export async function takeTurn(t: TestContext): Promise<void> {
  const server = createServer();
  t.after(() => server.close());
  const listen = (): Promise<boolean> =>
    new Promise((resolve) => {
      server.once("listening", () => resolve(true)).once("error", () => resolve(false));
      server.listen(TURN_PORT, "127.0.0.1");
    });
  await until("nobody else runs the example", listen, PATIENCE_MS);
  for (const port of portsOfExample()) await until(`port ${port} is free`, async () => !(await isListening(port)), PATIENCE_MS);
}

type Line = Row & { readonly summary?: undefined };
type Summary = { readonly summary: true; readonly ok: boolean; readonly proxy: string };

/** Runs the demo to its end; every row must be as expected. */
export async function runDemo(t: TestContext, proxy: "envoy" | "embedded"): Promise<void> {
  await takeTurn(t);
  const { exit, stdout, stderr } = await garrison(["demo", "--exit", "--json", "--proxy", proxy]);
  const lines = stdout.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Line | Summary]));
  const rows = lines.filter((line) => line.summary === undefined);
  const summary = lines.find((line) => line.summary === true);
  assert.deepEqual(
    rows.filter(({ ok }) => !ok),
    [],
  );
  assert.equal(stderr, "");
  assert.equal(exit, 0);
  assert.ok(rows.length >= 23, `${rows.length} rows`);
  assert.equal(summary?.ok, true);
  assert.match(summary?.proxy ?? "", new RegExp(`^${proxy}`, "i"));
  assert.deepEqual(
    await Promise.all(portsOfExample().map(isListening)),
    portsOfExample().map(() => false),
  );
}
