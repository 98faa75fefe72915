/** Finds processes that a test run left behind (Linux only: it reads /proc). */
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** The variable in the environment of every process of a run; its value is the run's own. */
export const MARKER = "GARRISON_TEST_RUN";

/** How long a process that was told to end may take, in milliseconds. */
const GRACE = 3000;

export interface Process {
  readonly pid: number;
  readonly command: string;
}

/** How the processes of a run are known: by the marker, or (with an environment of their own) by their session. */
export interface RunIdentity {
  readonly marker: string;
  /** The process id of the session's leader. */
  readonly session: number;
}

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return ""; // it ended meanwhile, or belongs to another user
  }
}

/** The process when it belongs to the run and is alive; a zombie is not. */
function inspect(pid: number, run: RunIdentity): Process | undefined {
  const stat = read(`/proc/${pid}/stat`);
  // proc(5): the name in parentheses may hold anything; after it come state, parent, process group, session.
  const [state, , , session] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (stat === "" || state === "Z" || state === "X") return undefined;
  const marked = `\0${read(`/proc/${pid}/environ`)}`.includes(`\0${MARKER}=${run.marker}\0`);
  if (!marked && Number(session) !== run.session) return undefined;
  return { pid, command: read(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim() };
}

function processesOf(run: RunIdentity): readonly Process[] {
  const pids = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
  return pids.filter((pid) => pid !== process.pid).flatMap((pid) => inspect(pid, run) ?? []);
}

/** The processes of a run that still live a little after its end; they are killed. Empty where there is no /proc. */
export async function reapOrphans(run: RunIdentity): Promise<readonly Process[]> {
  if (process.platform !== "linux") return [];
  const deadline = Date.now() + GRACE;
  let left = processesOf(run);
  while (left.length > 0 && Date.now() < deadline) {
    await sleep(50);
    left = processesOf(run);
  }
  for (const { pid } of left) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // it ended at last
    }
  }
  return left;
}
