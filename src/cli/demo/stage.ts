/** The stage of the demo: the photo example in a folder of its own, running. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { WorkloadSummary } from "../../server/workloads.ts";
import { callAdmin } from "../admin-client.ts";
import { type LocalMesh, startLocalMesh } from "../local-mesh.ts";
import { checkPorts } from "./ports.ts";

const EXAMPLE = fileURLToPath(new URL("../../../examples/photo/", import.meta.url));
/** The Unix socket path that stands in the example's YAML; the demo puts its own there. */
const SOCKET_IN_YAML = "/run/garrison-photo/datastore.sock";

/** What runs in each workload; the replica's place is left to an impostor. */
const PROGRAMS: ReadonlyMap<string, string> = new Map([
  ["photo-ns/photo-frontend", "photo-frontend.mjs"],
  ["photo-ns/photo-backend", "photo-backend.mjs"],
  ["datastore-ns/datastore", "datastore.mjs"],
  ["photo-ns/intruder", "intruder.mjs"],
]);
export const REPLICA = "datastore-ns/datastore-replica";

export interface Stage {
  readonly mesh: LocalMesh;
  readonly folder: string;
  readonly workloads: ReadonlyMap<string, WorkloadSummary>;
  /** A file of the working copy of the example's YAML. */
  policyFile(name: string): string;
  /** Where a workload's try server listens. */
  trySocket(workload: string): string;
  stop(): Promise<void>;
}

export interface StageOptions {
  readonly proxy: "envoy" | "embedded";
  readonly envoyPath: string | undefined;
  readonly listen: string;
  readonly onLine: (name: string, line: string) => void;
}

/** A working copy, so that edits don't touch the checkout. */
function copyExample(folder: string): string {
  const config = join(folder, "mesh");
  cpSync(join(EXAMPLE, "mesh"), config, { recursive: true });
  const file = join(config, "datastore.yaml");
  writeFileSync(file, readFileSync(file, "utf8").replaceAll(SOCKET_IN_YAML, join(folder, "datastore.sock")));
  return config;
}

/** Starts the example; resolves when every service answers behind its proxy. On failure nothing is left. */
export async function openStage(options: StageOptions): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), "garrison-demo-"));
  const config = copyExample(folder);
  const trySocket = (workload: string): string => join(folder, `try-${workload.replace("/", ".")}.sock`);
  const clean = (): void => rmSync(folder, { recursive: true, force: true });
  try {
    await checkPorts(config);
    const mesh = await startLocalMesh({
      config,
      state: join(folder, "state"),
      listen: options.listen,
      trustDomain: "cluster.local",
      proxy: options.proxy,
      commandOf: (workload) => {
        const program = PROGRAMS.get(workload);
        return program === undefined ? [] : [process.execPath, join(EXAMPLE, program)];
      },
      environmentOf: (workload) => ({
        GARRISON_TRY_SOCKET: trySocket(workload),
        DATASTORE_SOCKET: workload === "datastore-ns/datastore" ? join(folder, "datastore.sock") : "",
        ...(options.envoyPath === undefined ? {} : { ENVOY_PATH: options.envoyPath }),
      }),
      leaveOut: new Set([REPLICA]),
      onLine: options.onLine,
    });
    const summaries = (await callAdmin(mesh.adminSocket, "GET", "/v1/workloads")) as readonly WorkloadSummary[];
    return {
      mesh,
      folder,
      workloads: new Map(summaries.map((summary) => [summary.workload, summary])),
      policyFile: (name) => join(config, name),
      trySocket,
      stop: async () => {
        await mesh.stop();
        clean();
      },
    };
  } catch (error) {
    clean();
    throw error;
  }
}
