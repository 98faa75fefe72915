/** The load generator in Go, which drives every server the same way, and what a server's process costs while it does. */
import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const TOOLS = join(import.meta.dirname, "..", "..", ".tools", "peers");
/** Linux's, on every machine that Node runs on. */
const TICKS_PER_SECOND = 100;

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

/** Builds it: `go` must be there, and nothing is fetched, since it uses Go's own library alone. Returns its path. */
export function buildLoad(): string {
  const path = join(TOOLS, "load");
  mkdirSync(TOOLS, { recursive: true });
  const env = { ...process.env, CGO_ENABLED: "0", GOFLAGS: "-trimpath" };
  execFileSync("go", ["build", "-o", path, "."], { cwd: join(import.meta.dirname, "load"), env, stdio: ["ignore", 2, 2] });
  return path;
}

/** Milliseconds of CPU of a process; or of its thread. */
function cpuMs(pid: number, thread?: number): number {
  const stat = readFileSync(thread === undefined ? `/proc/${pid}/stat` : `/proc/${pid}/task/${thread}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
}

/** MiB that a process has in memory. */
export function residentMiB(pid: number): number {
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024);
}

/** MiB of all the memory that the process has had at most. */
export function peakMiB(pid: number): number {
  return Math.round(Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024);
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
