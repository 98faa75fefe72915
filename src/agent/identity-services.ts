/** What the agent offers its workload beside the proxy: the SPIFFE Workload API, and files with a signal for programs that want these. */
import { Metadata } from "@grpc/grpc-js";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { AgentOptions } from "./agent-options.ts";
import type { CertificateManager } from "./certificate-manager.ts";
import { type ClientMethod, callControlPlane } from "./control-plane-call.ts";
import type { IssuedCertificate } from "./issued-certificate.ts";
import { JwtSvids } from "./jwt-svids.ts";
import { keepOutputFiles } from "./output-files.ts";
import { socketPath } from "./run-folder.ts";
import type { Timers } from "./timers.ts";
import { WorkloadApiServer } from "./workload-api-server.ts";
import { formatEndpointSocket, openSocketFolder } from "./workload-socket.ts";

export interface IdentityServices {
  /** For the workload's command. */
  readonly env: Readonly<Record<string, string>>;
  /** A certificate of an earlier run that is still good. */
  readonly earlier: IssuedCertificate | undefined;
  /** Why the certificate's files do not have the newest; undefined where they do, or there are none. */
  filesProblem(): AppError | undefined;
  /** Takes the keys that verify JWT-SVIDs, where there are any, and by name those of other trust domains. Throws `permission-denied` for what are none. */
  takeJwks(jwks: string, others: ReadonlyMap<string, string>): void;
  status(): { readonly socket: string; readonly streams: number };
  close(): void;
}

type Options = AgentOptions & { readonly clock: Clock; readonly timers: Timers; readonly random: () => number };

const DEADLINE_MS = 10_000;

/** Serves them from `folder`, or from where the options say. Throws what `WorkloadApiServer.start` does. */
export async function createIdentityServices(
  options: Options,
  manager: CertificateManager,
  folder: string,
  toCommand: (signal: NodeJS.Signals) => void,
): Promise<IdentityServices> {
  const files = keepOutputFiles({ ...options, manager, toCommand });
  const { identity, controlPlane, rootCertificateFile, workloadApi = {}, clock, timers, random, logger } = options;
  const call = <Request, Response>(method: ClientMethod<Request, Response>, request: Request): Promise<Response> => {
    const certificate = manager.valid;
    if (certificate === undefined) return Promise.reject(new AppError("unavailable", "the workload has no valid certificate now"));
    const metadata = new Metadata();
    return callControlPlane({ controlPlane, rootCertificateFile, certificate, metadata, deadlineMs: DEADLINE_MS }, method, request);
  };
  const socket = workloadApi.socket ?? socketPath(folder, "workload.sock");
  if (workloadApi.socket !== undefined) openSocketFolder(socket);
  const jwtSvids = new JwtSvids({ identity, call, clock, timers, random, logger });
  const server = await WorkloadApiServer.start({
    identity,
    certificate: () => manager.valid,
    subscribe: (listener) => manager.subscribe(listener),
    jwtSvids,
    clock,
    timers,
    logger,
    access: { path: socket, group: workloadApi.group },
  });
  return {
    earlier: files.earlier,
    filesProblem: files.problem,
    env: { SPIFFE_ENDPOINT_SOCKET: formatEndpointSocket(socket) },
    takeJwks: (jwks, others) => jwtSvids.adopt(jwks, others),
    status: () => ({ socket, streams: server.streams }),
    close: () => {
      files.close();
      jwtSvids.stop();
      server.close();
    },
  };
}
