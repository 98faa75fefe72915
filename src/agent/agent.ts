/**
 * The agent of one workload: its certificate, its SDS socket, its proxy and, with `garrison run`, its command. Here
 * they are built and joined.
 */

import type { Server } from "node:http";
import { constants } from "node:os";
import { systemClock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import { type Renewal, startAdmin } from "./admin.ts";
import type { AgentOptions } from "./agent-options.ts";
import { createCertificateClient } from "./certificate-client.ts";
import { CertificateManager } from "./certificate-manager.ts";
import type { Names, NamesOptions } from "./dns/names.ts";
import { FileSecrets } from "./file-secrets.ts";
import { createIdentityServices, type IdentityServices } from "./identity-services.ts";
import { residentBytes } from "./memory.ts";
import { prepareProxy } from "./prepare-proxy.ts";
import { startProbeServer } from "./probe-server.ts";
import { ProxySupervisor } from "./proxy-supervisor.ts";
import { type Records, recordsOf } from "./records/records.ts";
import { WorkloadRegistration } from "./registration.ts";
import { openRunFolder, socketPath } from "./run-folder.ts";
import { SdsServer } from "./sds-server.ts";
import { SecretStore } from "./secrets.ts";
import { type AgentStatus, certificateStatus, type ProxyStatus, proxyStatus } from "./status.ts";
import { systemTimers, type Timers } from "./timers.ts";
import { NO_TOKEN, tokenFromFile } from "./token-source.ts";
import { Trust } from "./trust.ts";
import { WorkloadCommand } from "./workload-command.ts";

export interface Agent {
  status(): Promise<AgentStatus>;
  /** Renews the certificate now; resolves when the proxy has taken it, rejects with the reason. */
  renew(): Promise<Renewal>;
  /** A signal that the process got: the command's while it runs, else the agent stops. */
  signal(signal: NodeJS.Signals): void;
  /** Ends the command, then the proxy, then the rest. Afterwards no process of theirs is left. */
  stop(): Promise<void>;
  /** Resolves with the exit status when everything has ended: the command's own where there is one, else 0. */
  readonly done: Promise<number>;
}

/** The signals that concern an agent and are handed to `Agent.signal`. */
export const AGENT_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2"] as const satisfies readonly NodeJS.Signals[];

const ACCEPTANCE_TIMEOUT_MS = 10_000;
const DRAIN_MS = 5_000;

interface Registered {
  readonly registration: WorkloadRegistration;
  /** The control plane has taken it for the first time. */
  readonly admitted: Promise<void>;
}

/** Of a machine that registers itself: as soon as it has a certificate. */
function registrationOf(
  options: AgentOptions & { readonly timers: Timers; readonly random: () => number },
  manager: CertificateManager,
): Registered | undefined {
  const { membership } = options;
  if (membership === undefined) return undefined;
  const registration = new WorkloadRegistration({ ...options, ...membership, certificate: () => manager.valid });
  const admitted = new Promise<void>((resolve) => {
    const cancel = manager.subscribe(() => {
      cancel();
      resolve(registration.start());
    });
  });
  return { registration, admitted };
}

/** Undefined where it is not asked for: then nothing of it is in memory. */
async function answerNames(dns: AgentOptions["dns"], options: Omit<NamesOptions, "port" | "resolvConf">): Promise<Names | undefined> {
  if (dns === undefined) return undefined;
  const { startNames } = await import("./dns/names.ts");
  return startNames({ ...options, ...dns });
}

/**
 * Starts an agent: its sockets serve when this resolves, the rest follows as it becomes possible (no proxy without a
 * certificate, no command without a proxy). Throws what the operator must put right: a run folder that others may enter
 * or another agent uses, a missing Envoy, a workload or an identity that is none.
 */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { identity, controlPlane, rootCertificateFile, tokenFile, ttlSeconds = 0, sdsFiles, logger } = options;
  const { token = tokenFile === undefined ? NO_TOKEN : tokenFromFile(tokenFile) } = options;
  const { clock = systemClock, timers = systemTimers, random = Math.random } = options;
  const folder = openRunFolder(options.runFolder);
  const sdsSocket = socketPath(folder, "sds.sock");
  const adminSocket = socketPath(folder, "agent.sock");
  const files = sdsFiles === undefined || sdsFiles.length === 0 ? undefined : new FileSecrets({ folders: sdsFiles, timers, logger });
  const store = new SecretStore(identity, files);
  const request = createCertificateClient({
    identity,
    controlPlane,
    rootCertificateFile,
    token,
    cluster: options.cluster,
    ttlSeconds,
    keySpec: options.keySpec,
    clock,
  });
  const manager = new CertificateManager({ request, clock, timers, random, logger });
  manager.subscribe((certificate) => store.update(certificate));
  // The sockets first: whoever has them has the folder, and may write there.
  const records = recordsOf({ ...options, certificate: () => manager.valid, timers, random });
  const sds = await SdsServer.start({ socket: sdsSocket, store, timers, logger, logs: records?.service });
  let services: IdentityServices | undefined;
  let names: Names | undefined;
  let agent: RunningAgent | undefined;
  try {
    const toCommand = (signal: NodeJS.Signals) => agent?.signalCommand(signal);
    services = await createIdentityServices({ ...options, clock, timers, random }, manager, folder, toCommand);
    const program = prepareProxy(options, folder, sdsSocket);
    const drainMs = options.drainMs ?? DRAIN_MS;
    const supervisor = program === undefined ? undefined : new ProxySupervisor({ program, clock, timers, random, logger, drainMs });
    const { takeJwks, filesProblem } = services;
    const now = () => clock.now();
    names = await answerNames(options.dns, { ...options, certificate: () => manager.valid, now, timers, random });
    const registration = registrationOf({ ...options, timers, random }, manager);
    const trust = new Trust({ ...options, ...registration, manager, sds, takeJwks, filesProblem, now, timers, random });
    agent = new RunningAgent({ options, manager, supervisor, sds, records, files, services, names, trust, registration, timers });
    await agent.serve(adminSocket);
    await agent.answerProbes();
  } catch (error) {
    if (agent === undefined) {
      sds.close();
      files?.close();
      services?.close();
      names?.close();
    }
    // By then it may ask for certificates and run a proxy.
    await agent?.stop();
    throw error;
  }
  logger.log("info", "agent started", {
    workload: options.workload,
    identity,
    controlPlane: `${controlPlane.address}:${controlPlane.port}`,
    proxy: options.proxy.kind,
    pid: process.pid,
  });
  return agent;
}

interface Parts {
  readonly options: AgentOptions;
  readonly manager: CertificateManager;
  readonly supervisor: ProxySupervisor | undefined;
  readonly sds: SdsServer;
  readonly records: Records | undefined;
  readonly files: FileSecrets | undefined;
  readonly services: IdentityServices;
  /** Undefined where its questions of DNS are not captured. */
  readonly names: Names | undefined;
  readonly trust: Trust;
  readonly registration: Registered | undefined;
  readonly timers: Timers;
}

class RunningAgent implements Agent {
  readonly done: Promise<number>;
  readonly #parts: Parts;
  readonly #end = Promise.withResolvers<number>();
  #admin: Server | undefined;
  #probes: Server | undefined;
  #command: WorkloadCommand | undefined;
  #stopped: Promise<void> | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.done = this.#end.promise;
  }

  /** Opens the admin socket and lets the certificate, the proxy and the command follow one another. */
  async serve(adminSocket: string): Promise<void> {
    const { manager, services, names, registration } = this.#parts;
    const admitted = registration?.admitted ?? Promise.resolve();
    this.#admin = await startAdmin(adminSocket, { status: () => this.status(), renew: () => this.renew() });
    const cancel = manager.subscribe(() => {
      cancel();
      admitted.then(() => this.#runProxy()).catch((thrown) => this.#giveUp(thrown));
    });
    manager.subscribe(() => void admitted.then(() => names?.follow()));
    manager.start(services.earlier);
  }

  /** And the command when it serves. */
  async #runProxy(): Promise<void> {
    const { supervisor, names } = this.#parts;
    if (this.#stopped !== undefined) return;
    supervisor?.start();
    // The command resolves names at once.
    await Promise.all([supervisor?.whenReady(), names?.had]);
    this.#runCommand();
  }

  /** The node asks from the start: whoever is not ready says so. */
  async answerProbes(): Promise<void> {
    const { health, address } = this.#parts.options;
    if (health === undefined) return;
    const isReady = async (): Promise<boolean> => (await this.status()).ready;
    this.#probes = await startProbeServer({ ...health, application: address, isReady });
  }

  async status(): Promise<AgentStatus> {
    const { options, manager, supervisor, sds, records, services, names, trust, registration } = this.#parts;
    const certificate = certificateStatus(manager.state, manager.expiresSoon);
    const proxy =
      supervisor === undefined || options.proxy.kind === "none"
        ? NO_PROXY
        : proxyStatus(options.proxy.kind, supervisor.state, supervisor.restarts);
    const certified = certificate.state === "valid" || certificate.state === "renewal-failing";
    const [agentBytes, proxyBytes] = await Promise.all([
      residentBytes(process.pid),
      proxy.pid === undefined ? undefined : residentBytes(proxy.pid),
    ]);
    return {
      workload: options.workload,
      identity: options.identity,
      pid: process.pid,
      ready: certified && (supervisor === undefined || proxy.state === "ready") && (names?.ready ?? true),
      certificate,
      trustPushed: trust.current,
      proxy,
      ...(registration === undefined ? {} : { registration: registration.registration.status }),
      ...(records === undefined ? {} : { records: records.relay.status }),
      sdsStreams: sds.streams,
      workloadApi: services.status(),
      ...(names === undefined ? {} : { dns: names.status() }),
      memory: { ...(agentBytes === undefined ? {} : { agent: agentBytes }), ...(proxyBytes === undefined ? {} : { proxy: proxyBytes }) },
    };
  }

  async renew(): Promise<Renewal> {
    const { manager, sds } = this.#parts;
    const { serial, notAfter } = await manager.renew();
    const acceptedBy = await sds.whenAccepted("default", serial, ACCEPTANCE_TIMEOUT_MS);
    return { serial, notAfter: new Date(notAfter).toISOString(), acceptedBy };
  }

  signal(signal: NodeJS.Signals): void {
    if (this.#command !== undefined && this.#stopped === undefined) this.#command.forward(signal);
    else this.#shutDown(this.#parts.options.command === undefined ? 0 : 128 + constants.signals[signal]);
  }

  /** The command's, while it runs. */
  signalCommand(signal: NodeJS.Signals): void {
    this.#command?.forward(signal);
  }

  stop(): Promise<void> {
    return this.#shutDown(0);
  }

  #runCommand(): void {
    const { options, timers, services } = this.#parts;
    const [program, ...args] = options.command ?? [];
    if (program === undefined || this.#stopped !== undefined) return;
    this.#command = new WorkloadCommand({
      command: [program, ...args],
      env: { ...services.env, ...options.env },
      timers,
      logger: options.logger,
    });
    this.#command.ended.then((status) => this.#shutDown(status));
  }

  /** Without its command there is nothing that the agent is for; where it is stopping already, there is nothing to give up. */
  #giveUp(thrown: unknown): void {
    if (this.#stopped !== undefined) return;
    this.#parts.options.logger.log("error", "the command cannot be started", { error: AppError.from(thrown).message });
    this.#shutDown(1);
  }

  #shutDown(status: number): Promise<void> {
    this.#stopped ??= this.#stopAll(status);
    return this.#stopped;
  }

  async #stopAll(status: number): Promise<void> {
    const { options, manager, supervisor, sds, records, files, services, names, trust, registration } = this.#parts;
    options.logger.log("info", "agent stopping", { workload: options.workload });
    // First, while everything still answers: from here on nobody is sent here.
    await registration?.registration.leave();
    manager.stop();
    trust.close();
    const command = this.#command;
    await command?.stop();
    // Once the command has ended there is nobody left to answer what the proxy still carries.
    await supervisor?.stop({ drain: command === undefined });
    await records?.relay.finish();
    sds.close();
    files?.close();
    services.close();
    names?.close();
    this.#admin?.close();
    this.#admin?.closeAllConnections();
    this.#probes?.close();
    this.#probes?.closeAllConnections();
    options.logger.log("info", "agent stopped", { workload: options.workload });
    this.#end.resolve(command === undefined ? status : await command.ended);
  }
}

const NO_PROXY: ProxyStatus = { kind: "none", state: "stopped", restarts: 0 };
