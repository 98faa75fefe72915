/** What the agent offers its workload beside the proxy: the SPIFFE Workload API. */
import { Metadata } from "@grpc/grpc-js";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { AgentOptions } from "./agent-options.ts";
import type { CertificateManager } from "./certificate-manager.ts";
import { type ClientMethod, callControlPlane } from "./control-plane-call.ts";
import { JwtSvids } from "./jwt-svids.ts";
import { socketPath } from "./run-folder.ts";
import type { Timers } from "./timers.ts";
import { WorkloadApiServer } from "./workload-api-server.ts";
import { checkSocketFolder, formatEndpointSocket } from "./workload-socket.ts";

export interface IdentityServices {
  /** For the workload's command. */
  readonly env: Readonly<Record<string, string>>;
  status(): { readonly socket: string; readonly streams: number };
  close(): void;
}

type Options = AgentOptions & { readonly clock: Clock; readonly timers: Timers; readonly random: () => number };

const DEADLINE_MS = 10_000;

/** Serves them from `folder`, or from where the options say. Throws what `WorkloadApiServer.start` does. */
export async function createIdentityServices(options: Options, manager: CertificateManager, folder: string): Promise<IdentityServices> {
  const { identity, controlPlane, rootCertificateFile, workloadApi = {}, clock, timers, random, logger } = options;
  const call = <Request, Response>(method: ClientMethod<Request, Response>, request: Request): Promise<Response> => {
    const certificate = manager.valid;
    if (certificate === undefined) return Promise.reject(new AppError("unavailable", "the workload has no valid certificate now"));
    const metadata = new Metadata();
    return callControlPlane({ controlPlane, rootCertificateFile, certificate, metadata, deadlineMs: DEADLINE_MS }, method, request);
  };
  const socket = workloadApi.socket ?? socketPath(folder, "workload.sock");
  if (workloadApi.socket !== undefined) checkSocketFolder(socket);
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
    env: { SPIFFE_ENDPOINT_SOCKET: formatEndpointSocket(socket) },
    status: () => ({ socket, streams: server.streams }),
    close: () => {
      jwtSvids.stop();
      server.close();
    },
  };
}
