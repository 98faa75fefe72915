/** Finding a control plane on another machine, and what it says of the workload here. */
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { AgentOptions } from "../agent/agent-options.ts";
import { readCertificateFiles } from "../agent/certificate-files.ts";
import { type ClientMethod, type ControlPlane, callControlPlane } from "../agent/control-plane-call.ts";
import { DESCRIBE_WORKLOAD } from "../agent/identity-messages.ts";
import { serviceEnvironment } from "../agent/service-environment.ts";
import { bearer, fixedToken, NO_TOKEN, type TokenSource, tokenFromCommand, tokenFromFile } from "../agent/token-source.ts";
import { Backoff } from "../core/backoff.ts";
import { AppError, type ErrorCode } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { controlPlaneIdentity } from "../identity/control-plane.ts";
import { formatSpiffeId } from "../identity/spiffe-id.ts";
import { parseTrustDomain } from "../identity/trust-domain.ts";
import type { OptionSpecs, ParsedArguments } from "./command.ts";
import { clusterName, parseHostPort, required } from "./options.ts";
import { runFolderOf } from "./run-folders.ts";

export const REMOTE_OPTIONS = {
  "control-plane": { type: "value", value: "HOST:PORT", doc: "a control plane on another machine" },
  "root-ca": { type: "value", value: "FILE", doc: "its root certificate (PEM), by which it is known" },
  "token-file": {
    type: "value",
    value: "FILE",
    doc: "a service-account or join token, one of an issuer outside, or AWS' `rsa2048` document; read anew for each attempt",
  },
  "token-command": { type: "value", value: "CMD", doc: "a command of the shell that prints such a token; run for each attempt" },
  "join-token": {
    type: "value",
    value: "TOKEN",
    doc: "a token for one use (`garrison token join`); or GARRISON_JOIN_TOKEN, which other users cannot see",
  },
  cluster: { type: "value", value: "NAME", doc: "the cluster that issues the token, where the control plane serves several" },
  "trust-domain": { type: "value", value: "NAME", doc: "the control plane's trust domain", default: "cluster.local" },
} as const satisfies OptionSpecs;

/** Who the workload is and whom its agent asks. */
export type WorkloadPlace = Pick<
  AgentOptions,
  "workload" | "identity" | "address" | "controlPlane" | "rootCertificateFile" | "token" | "cluster" | "runFolder" | "env"
> & {
  /** Whether its questions of DNS are to be answered. */
  readonly dnsCapture: boolean;
};

const DEADLINE_MS = 10_000;
/** Whether no waiting mends it. A pod has its token before the control plane has heard of it; whoever joins by a token for one use is known already. */
function isFinal(code: ErrorCode, once: boolean): boolean {
  return code === "invalid-argument" || (once && (code === "permission-denied" || code === "unauthenticated" || code === "already-exists"));
}

/** A join token that was refused is replaced; whoever was told what else to do is told that. */
function withHelp(error: AppError, once: boolean): AppError {
  if (!once || error.code !== "unauthenticated" || error.help !== undefined) return error;
  const help = "make another by `garrison token join` on the control plane's machine: each is good once, and for a few minutes";
  return new AppError(error.code, error.message, { help, cause: error });
}

interface Joining {
  readonly source: TokenSource;
  /** It is worth nothing once it was refused. */
  readonly once: boolean;
}

function tokenSource(parsed: ParsedArguments): Joining {
  const file = parsed.value("token-file");
  const command = parsed.value("token-command");
  const once = parsed.value("join-token") ?? process.env.GARRISON_JOIN_TOKEN ?? "";
  if ([file, command, once === "" ? undefined : once].filter((given) => given !== undefined).length > 1)
    throw new AppError("invalid-argument", "which token is it, the file's, the command's or the join token?", { help: "give one of them" });
  if (command !== undefined) return { source: tokenFromCommand(command), once: false };
  if (file !== undefined) return { source: tokenFromFile(file), once: false };
  if (once !== "") return { source: fixedToken(once), once: true };
  if (parsed.value("output-certs") !== undefined) return { source: NO_TOKEN, once: false };
  throw new AppError("invalid-argument", "how does this workload prove who it is?", {
    help: "make a token with `garrison token join` on the control plane's machine, and say --join-token TOKEN; or --token-file FILE or --token-command CMD",
  });
}

/** Throws `invalid-argument`. */
function clusterOf(parsed: ParsedArguments): string | undefined {
  const name = parsed.value("cluster");
  return name === undefined ? undefined : clusterName(name);
}

/** Which control plane is asked, and how this workload proves who it is. */
export interface Remote extends Joining {
  readonly controlPlane: ControlPlane;
  readonly rootCertificateFile: string;
  /** The cluster whose token it is, where there are several. */
  readonly cluster: string | undefined;
}

/** Throws `invalid-argument`. */
export function remoteControlPlane(parsed: ParsedArguments): Remote {
  const { host, port } = parseHostPort(required(parsed, "control-plane"));
  const identity = formatSpiffeId(controlPlaneIdentity(parseTrustDomain(required(parsed, "trust-domain"))));
  const controlPlane: ControlPlane = { address: host, port, identity };
  const rootCertificateFile = resolve(required(parsed, "root-ca"));
  return { controlPlane, rootCertificateFile, cluster: clusterOf(parsed), ...tokenSource(parsed) };
}

/** One call, with the certificate of an earlier run where there is one that is good. */
export type RemoteCall = <Request, Response>(method: ClientMethod<Request, Response>, request: Request) => Promise<Response>;

interface Asking {
  readonly parsed: ParsedArguments;
  readonly remote: Remote;
  /** Ends the wait. */
  readonly asked: AbortSignal;
  readonly logger: Logger;
  /** For the log: what the control plane does not say yet. */
  readonly what: string;
}

/** What the control plane answers; undefined where a signal came first. Waits for one that is away. Throws what no waiting mends. */
export async function untilAnswered<T>(asking: Asking, ask: (call: RemoteCall) => Promise<T>): Promise<T | undefined> {
  const { parsed, remote, asked, logger, what } = asking;
  const backoff = new Backoff({ firstMs: 1_000, maxMs: 60_000, random: Math.random });
  for (;;) {
    const certificate = earlierCertificate(parsed);
    try {
      return await ask(async (method, request) => {
        const { controlPlane, rootCertificateFile, cluster, source } = remote;
        const metadata = bearer(await source(certificate !== undefined), cluster);
        return callControlPlane({ controlPlane, rootCertificateFile, certificate, metadata, deadlineMs: DEADLINE_MS }, method, request);
      });
    } catch (thrown) {
      const error = AppError.from(thrown);
      if (isFinal(error.code, remote.once && certificate === undefined)) throw withHelp(error, remote.once);
      const delay = Math.max(backoff.next(), (error.retryAfterMs ?? 0) * (1 + Math.random() / 4));
      const fields = { error: error.message, code: error.code, help: error.help, retryInMs: Math.round(delay) };
      logger.log("warn", `the control plane does not say yet ${what}`, fields);
      // Nothing else may keep the process alive meanwhile.
      await sleep(delay, undefined, { signal: asked }).catch(() => undefined);
      if (asked.aborted) return undefined;
    }
  }
}

function earlierCertificate(parsed: ParsedArguments) {
  const folder = parsed.value("output-certs");
  return folder === undefined ? undefined : readCertificateFiles(resolve(folder), Date.now());
}

/** What an agent is told of its control plane. */
export function remotePlace({ controlPlane, rootCertificateFile, cluster, source: token }: Remote) {
  return { controlPlane, rootCertificateFile, token, ...(cluster === undefined ? {} : { cluster }) };
}

/** The workload of this machine; undefined where a signal came first. Waits for a control plane that is away. Throws what no waiting mends. */
export async function remoteWorkload(parsed: ParsedArguments, asked: AbortSignal, logger: Logger): Promise<WorkloadPlace | undefined> {
  const remote = remoteControlPlane(parsed);
  const asking = { parsed, remote, asked, logger, what: "who this workload is" };
  const described = await untilAnswered(asking, (call) => call(DESCRIBE_WORKLOAD, parsed.value("workload") ?? ""));
  if (described === undefined) return undefined;
  const { workload, identity, address, egress, dnsCapture } = described;
  const runFolder = runFolderOf(required(parsed, "state"), workload);
  return { workload, identity, address, ...remotePlace(remote), runFolder, env: serviceEnvironment(egress), dnsCapture };
}
