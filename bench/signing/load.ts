/** The load generator in Go, which drives every server the same way, and what a server's process costs while it does. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { cpuMs } from "../process-usage.ts";

const run = promisify(execFile);

/** What one run of it says. */
interface LoadAnswer {
  readonly count: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly clientCpuMs: number;
}

export interface Figures {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Microseconds of CPU for one certificate, of all threads; of Node's first thread. */
  readonly serverCpuUs: number;
  readonly mainThreadUs: number;
  readonly clientCpuUs: number;
}

export interface LoadRequest {
  readonly concurrency: number;
  /** Requests in all. */
  readonly count: number;
  /** The program's other flags. */
  readonly flags: Readonly<Record<string, string>>;
}

/** Drives the server whose process is `pid`. Rejects where a request fails. */
export async function drive(load: string, pid: number, { concurrency, count: requests, flags }: LoadRequest): Promise<Figures> {
  const args = Object.entries({ ...flags, concurrency, count: requests }).flatMap(([name, value]) => [`-${name}`, String(value)]);
  const before = { all: cpuMs(pid), main: cpuMs(pid, pid) };
  const { stdout } = await run(load, args);
  const { count, perSecond, p50Ms, p99Ms, clientCpuMs } = JSON.parse(stdout) as LoadAnswer;
  const each = (milliseconds: number): number => Math.round((milliseconds * 1000) / count);
  return {
    perSecond: Math.round(perSecond),
    p50Ms: Number(p50Ms.toFixed(1)),
    p99Ms: Number(p99Ms.toFixed(1)),
    serverCpuUs: each(cpuMs(pid) - before.all),
    mainThreadUs: each(cpuMs(pid, pid) - before.main),
    clientCpuUs: each(clientCpuMs),
  };
}
