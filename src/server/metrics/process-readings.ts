/** What a process tells of itself, by the names that Prometheus' own clients have for it. */
import process from "node:process";
import { type Reading, single } from "./reading.ts";

/** Milliseconds between two looks of the monitor, which counts them as delay. */
export const DELAY_RESOLUTION_MS = 20;

/** Of nanoseconds between two looks. */
const delaySeconds = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e9 - DELAY_RESOLUTION_MS / 1000);

export const PROCESS_READINGS: readonly Reading[] = [
  single("counter", "process_cpu_seconds_total", "CPU time that was spent", () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  }),
  single("gauge", "process_start_time_seconds", "When the process began", () => performance.timeOrigin / 1000),
  single("gauge", "process_resident_memory_bytes", "Memory that the process has", () => process.memoryUsage.rss()),
  single("gauge", "nodejs_heap_size_used_bytes", "Memory that its objects take", () => process.memoryUsage().heapUsed),
  single(
    "counter",
    "garrison_event_loop_active_seconds_total",
    "Time in which the event loop was at work: the rate is near 1 where it can take no more",
    () => performance.eventLoopUtilization().active / 1000,
  ),
  {
    kind: "gauge",
    name: "garrison_event_loop_delay_seconds",
    help: "By how much the event loop was late since this was read last: half of the time, at most in 99 of 100 cases, at most",
    labels: ["of"],
    read: ({ delays }) => {
      const [median, p99, most] = [delays.percentile(50), delays.percentile(99), delays.max].map(delaySeconds);
      delays.reset();
      return [
        { of: "median", value: median ?? 0 },
        { of: "p99", value: p99 ?? 0 },
        { of: "max", value: most ?? 0 },
      ];
    },
  },
];
