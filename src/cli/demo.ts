import { setTimeout as pause } from "node:timers/promises";
import { callAdmin } from "./admin-client.ts";
import type { Command, ParsedArguments } from "./command.ts";
import { brokenEditRow, editRow, median, rotationRow } from "./demo/live.ts";
import { attempts, HTTP_PAIRS } from "./demo/matrix.ts";
import { rowsOf, type Tried } from "./demo/record.ts";
import { formatTable, type Row } from "./demo/row.ts";
import { openStage, type Stage } from "./demo/stage.ts";
import { untilServing } from "./demo/try.ts";
import { EXIT, type ExitCode } from "./exit.ts";
import { chooseProxy, PROXY_OPTION } from "./find-envoy.ts";
import { JSON_OPTION, parseCount, required } from "./options.ts";
import { endRequest } from "./signals.ts";

interface Memory {
  readonly controlPlane: number;
  readonly agents: readonly number[];
  readonly proxies: readonly number[];
}

const MIB = 2 ** 20;
/** So that the times of two attempts, in milliseconds, never overlap in the record. */
const APART_MS = 2;

async function tryAll(stage: Stage): Promise<readonly Tried[]> {
  const tried: Tried[] = [];
  for (const attempt of attempts(stage)) {
    await pause(APART_MS);
    const from = Date.now();
    const observation = await attempt.run().catch((error: Error) => ({ effect: "refused" as const, saw: error.message }));
    tried.push({ attempt, observation, from, to: Date.now() });
  }
  return tried;
}

async function memoryOf({ mesh }: Stage): Promise<Memory> {
  const status = (await callAdmin(mesh.adminSocket, "GET", "/v1/status")) as { readonly rssBytes: number };
  const agents = await Promise.all(
    [...mesh.agents.keys()].map(async (workload) => {
      const { memory } = (await callAdmin(mesh.agentSocket(workload), "GET", "/status")) as {
        readonly memory: { readonly agent?: number; readonly proxy?: number };
      };
      return memory;
    }),
  );
  return {
    controlPlane: status.rssBytes / MIB,
    agents: agents.map(({ agent = 0 }) => agent / MIB),
    proxies: agents.map(({ proxy = 0 }) => proxy / MIB),
  };
}

function mebibytes(values: readonly number[]): string {
  return values.map((value) => Math.round(value)).join(", ");
}

function footer(memory: Memory, proxy: string, seconds: number, edits: readonly number[]): string {
  return [
    `policy edit to enforcement: median ${median(edits).toFixed(1)} ms of ${edits.length} edits (${edits.map((time) => time.toFixed(0)).join(", ")})`,
    `resident memory in MiB: control plane ${Math.round(memory.controlPlane)}; agents ${mebibytes(memory.agents)}; each ${proxy} ${mebibytes(memory.proxies)}`,
    `started and tried in ${seconds.toFixed(1)} s`,
    "",
  ].join("\n");
}

function invitation(stage: Stage): string {
  const state = stage.mesh.adminSocket.replace(/\/admin\.sock$/, "");
  const frontend = stage.workloads.get("photo-ns/photo-frontend")?.egress.find(({ service }) => service === "photo-backend");
  return [
    "It stays up. Try, in another terminal:",
    `  curl -i http://${frontend?.host}:${frontend?.port}/photos            # as photo-frontend, through its proxy`,
    `  curl -i -X DELETE http://${frontend?.host}:${frontend?.port}/photos/1   # not allowed: 403`,
    `  npx garrison status --state ${state}`,
    `  npx garrison audit --follow --state ${state}`,
    `  $EDITOR ${stage.policyFile("photo-ns-policies.yaml")}   # takes effect as you save`,
    "End with Ctrl-C.",
    "",
  ].join("\n");
}

async function play(stage: Stage, parsed: ParsedArguments, proxyName: string, started: number): Promise<boolean> {
  const json = parsed.flag("json");
  await untilServing(stage, HTTP_PAIRS);
  const tried = await tryAll(stage);
  const edit = await editRow(stage, parseCount("edits", required(parsed, "edits"), 2, 1000));
  const rows: readonly Row[] = [...(await rowsOf(stage, tried)), edit.row, await brokenEditRow(stage), await rotationRow(stage)];
  const memory = await memoryOf(stage);
  const seconds = (performance.now() - started) / 1000;
  const ok = rows.every((row) => row.ok);
  if (json) {
    for (const row of rows) process.stdout.write(`${JSON.stringify(row)}\n`);
    process.stdout.write(
      `${JSON.stringify({ summary: true, ok, proxy: proxyName, seconds, editMilliseconds: edit.times, memoryMiB: memory })}\n`,
    );
  } else {
    process.stdout.write(`\n${formatTable(rows, process.stdout.isTTY === true)}\n${footer(memory, proxyName, seconds, edit.times)}\n`);
    process.stdout.write(ok ? "Every row is as expected.\n\n" : `${rows.filter((row) => !row.ok).length} rows are NOT as expected.\n\n`);
  }
  return ok;
}

async function run(parsed: ParsedArguments): Promise<ExitCode> {
  const started = performance.now();
  const proxy = await chooseProxy(required(parsed, "proxy"));
  const proxyName = proxy.kind === "envoy" ? `Envoy ${proxy.version}` : "embedded proxy";
  const why =
    proxy.kind === "embedded" && required(parsed, "proxy") === "auto"
      ? " (there is no Envoy here; `npm run setup:envoy` installs one)"
      : "";
  const say = (text: string): void => {
    if (!parsed.flag("json")) process.stdout.write(text);
  };
  say(`The photo example: photo-frontend, photo-backend and datastore, each behind its own proxy: ${proxyName}${why}.\nStarting…\n`);
  const stage = await openStage({
    proxy: proxy.kind,
    envoyPath: proxy.kind === "envoy" ? proxy.path : undefined,
    listen: required(parsed, "listen"),
    onLine: (name, line) => {
      if (parsed.flag("verbose")) process.stderr.write(`[${name}] ${line}\n`);
    },
  });
  const asked = endRequest();
  try {
    const ok = await Promise.race([play(stage, parsed, proxyName, started), asked.then(() => undefined)]);
    if (ok === undefined) return EXIT.no;
    if (!parsed.flag("exit")) {
      say(invitation(stage));
      await asked;
    }
    return ok ? EXIT.ok : EXIT.no;
  } finally {
    await stage.stop();
  }
}

export const command: Command = {
  name: "demo",
  summary: "Runs the photo example, secured, tries everything on it, and shows which rule decided.",
  options: {
    proxy: PROXY_OPTION,
    exit: { type: "flag", doc: "end after the table: with 0 only if every row is as expected" },
    json: { ...JSON_OPTION, doc: "print each row as a JSON line" },
    edits: { type: "value", value: "N", doc: "how many policy edits are timed", default: "10" },
    listen: { type: "value", value: "HOST:PORT", doc: "where the control plane serves; port 0 takes any free one", default: "127.0.0.1:0" },
    verbose: { type: "flag", doc: "print the log of every process" },
  },
  examples: ["garrison demo", "garrison demo --exit --proxy envoy", "garrison demo --exit --proxy embedded --json"],
  run,
};
