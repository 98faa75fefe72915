/** A whole mesh on this machine: a control plane, and for each local workload an agent with its proxy. */
import { mkdirSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { readControlPlaneFile } from "../server/files.ts";
import type { WorkloadSummary } from "../server/workloads.ts";
import type { KeySpec } from "../x509/key-spec.ts";
import { callAdmin } from "./admin-client.ts";
import { type Child, startChild, untilReady } from "./child.ts";
import { runFolderOf } from "./run-folders.ts";

const READY_MS = 30_000;

export interface LocalMeshOptions {
  readonly config: string;
  readonly state: string;
  /** `HOST:PORT`; port 0 takes any free one. */
  readonly listen: string;
  /** Undefined leaves it to the MeshConfig. */
  readonly trustDomain: string | undefined;
  readonly proxy: "envoy" | "embedded";
  /** The kinds of keys of authorities and of workloads; P-256 without, or what the environment says. */
  readonly caKeyKind?: KeySpec;
  readonly keyKind?: KeySpec;
  /** The application's command for a workload; none for those that somebody else starts. */
  readonly commandOf: (workload: string) => readonly string[];
  readonly environmentOf: (workload: string) => Readonly<Record<string, string>>;
  /** Workloads of this machine that are not started. */
  readonly leaveOut: ReadonlySet<string>;
  readonly onLine: (name: string, line: string) => void;
}

export interface LocalMesh {
  readonly adminSocket: string;
  readonly controlPlane: Child;
  readonly agents: ReadonlyMap<string, Child>;
  /** The admin socket of a workload's agent. */
  agentSocket(workload: string): string;
  stop(): Promise<void>;
}

function isLocal(address: string): boolean {
  if (address.startsWith("127.") || address === "::1") return true;
  return Object.values(networkInterfaces()).some((addresses) => addresses?.some((own) => own.address === address));
}

async function startControlPlane(
  options: LocalMeshOptions,
  logs: string,
): Promise<{ readonly child: Child; readonly adminSocket: string }> {
  const { config, state, listen, trustDomain, caKeyKind, onLine } = options;
  const args = [
    "serve",
    "--config",
    config,
    "--state",
    state,
    "--listen",
    listen,
    ...(trustDomain === undefined ? [] : ["--trust-domain", trustDomain]),
    ...(caKeyKind === undefined ? [] : ["--ca-key-kind", caKeyKind]),
  ];
  const child = startChild({ name: "control-plane", args, logFile: join(logs, "control-plane.log"), onLine });
  const adminSocket = await untilReady(child, READY_MS, async () => {
    const file = readControlPlaneFile(state);
    if (file.pid !== child.pid) throw new Error("an older process wrote the file");
    await callAdmin(file.adminSocket, "GET", "/v1/ready");
    return file.adminSocket;
  });
  return { child, adminSocket };
}

function startAgent(options: LocalMeshOptions, workload: string, logs: string): Child {
  const command = options.commandOf(workload);
  const args = [
    "run",
    "--workload",
    workload,
    "--state",
    options.state,
    "--proxy",
    options.proxy,
    ...(options.keyKind === undefined ? [] : ["--key-kind", options.keyKind]),
    ...(command.length > 0 ? ["--", ...command] : []),
  ];
  const logFile = join(logs, `${workload.replace("/", ".")}.log`);
  // Several agents cannot share the one socket that it names.
  const env = { SPIFFE_ENDPOINT_SOCKET: "", ...options.environmentOf(workload) };
  return startChild({ name: workload, args, env, logFile, onLine: options.onLine });
}

/** Starts everything and resolves when all of it is ready; on failure nothing is left running. */
export async function startLocalMesh(options: LocalMeshOptions): Promise<LocalMesh> {
  const logs = join(options.state, "log");
  mkdirSync(options.state, { recursive: true, mode: 0o700 });
  mkdirSync(logs, { recursive: true, mode: 0o700 });
  const agents = new Map<string, Child>();
  const agentSocket = (workload: string): string => join(runFolderOf(options.state, workload), "agent.sock");
  const { child: controlPlane, adminSocket } = await startControlPlane(options, logs);
  const stop = async (): Promise<void> => {
    await Promise.all([...agents.values()].map((agent) => agent.stop()));
    await controlPlane.stop();
  };
  try {
    const workloads = (await callAdmin(adminSocket, "GET", "/v1/workloads")) as readonly WorkloadSummary[];
    const local = workloads.filter(({ workload, address }) => isLocal(address) && !options.leaveOut.has(workload));
    for (const { workload } of local) agents.set(workload, startAgent(options, workload, logs));
    await Promise.all(
      [...agents].map(([workload, agent]) => untilReady(agent, READY_MS, () => callAdmin(agentSocket(workload), "GET", "/ready"))),
    );
  } catch (error) {
    await stop();
    throw error;
  }
  return { adminSocket, controlPlane, agents, agentSocket, stop };
}
