/** What another process takes (proc(5)). */
import { readFileSync } from "node:fs";

/** Linux's, on every machine that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Milliseconds of CPU of a process; or of one of its threads. */
export function cpuMs(pid: number, thread?: number): number {
  const stat = readFileSync(thread === undefined ? `/proc/${pid}/stat` : `/proc/${pid}/task/${thread}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
}

/** Bytes in memory: that a process has, and the most that it has ever had. */
export function memoryOf(pid: number): { readonly now: number; readonly most: number } {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  const of = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(text)?.[1]) * 1024;
  return { now: of("VmRSS"), most: of("VmHWM") };
}
