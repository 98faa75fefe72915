/**
 * From the save of a policy file to the first request that feels it, over one open connection; both proxies, in one
 * run, on the photo example. `node bench/propagation.ts [EDITS]`.
 */

import { median, timeEdits } from "../src/cli/demo/live.ts";
import { HTTP_PAIRS } from "../src/cli/demo/matrix.ts";
import { openStage } from "../src/cli/demo/stage.ts";
import { untilServing } from "../src/cli/demo/try.ts";
import { chooseProxy } from "../src/cli/find-envoy.ts";

/** istiod on a like machine, from file to Envoy: the median over 138 changes. */
const ISTIOD_MS = 389;

async function measure(kind: "envoy" | "embedded", edits: number): Promise<void> {
  const proxy = await chooseProxy(kind);
  const stage = await openStage({
    proxy: kind,
    envoyPath: proxy.kind === "envoy" ? proxy.path : undefined,
    listen: "127.0.0.1:0",
    onLine: () => undefined,
  });
  try {
    await untilServing(stage, HTTP_PAIRS);
    const { times, connections } = await timeEdits(stage, edits);
    const sorted = [...times].sort((left, right) => left - right);
    const result = {
      bench: "propagation",
      proxy: kind,
      unit: "ms",
      edits: times.length,
      connections,
      median: median(times),
      p90: sorted[Math.floor(sorted.length * 0.9)],
      max: sorted.at(-1),
      istiodMedianElsewhere: ISTIOD_MS,
      ratio: median(times) / ISTIOD_MS,
      node: process.version,
    };
    process.stdout.write(`${JSON.stringify(result)}\n`);
  } finally {
    await stage.stop();
  }
}

const edits = Number(process.argv[2] ?? 50);
for (const kind of ["embedded", "envoy"] as const) await measure(kind, edits);
