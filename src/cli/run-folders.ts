import { join } from "node:path";

/** The folder of a workload's agent in a state folder. */
export function runFolderOf(state: string, workload: string): string {
  return join(state, "run", workload.replace("/", "."));
}
