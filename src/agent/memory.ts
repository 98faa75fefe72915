/** How much memory a process holds, as its operator sees it. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";

/** Resident bytes of a process, from /proc or `ps`; undefined where neither tells. */
export async function residentBytes(pid: number): Promise<number | undefined> {
  if (pid === process.pid) return process.memoryUsage.rss();
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => undefined);
  const kibibytes = status === undefined ? await askPs(pid) : /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1];
  return kibibytes === undefined ? undefined : Number(kibibytes) * 1024;
}

function askPs(pid: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile("ps", ["-o", "rss=", "-p", String(pid)], { timeout: 2_000 }, (error, output) =>
      resolve(error === null ? /^\s*(\d+)\s*$/.exec(output)?.[1] : undefined),
    );
  });
}
