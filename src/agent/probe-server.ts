/** Where the node asks whether the proxy is ready, and whether the application lives: in plaintext, at a port that is not captured. */
import type { Server, ServerResponse } from "node:http";
import { AppError } from "../core/error.ts";
import { listenHost } from "../core/listen-host.ts";
import type { AppProbes } from "./app-probes.ts";
import { createServer } from "./node-http.ts";
import { type ProbeResult, probeApplication } from "./probe-application.ts";

export interface ProbeServerOptions {
  readonly host: string;
  readonly port: number;
  /** The workload's own address, where the application is asked. */
  readonly application: string;
  readonly probes: AppProbes;
  readonly isReady: () => Promise<boolean>;
}

/** Istio's path. */
const READY_PATH = "/healthz/ready";
const MAX_CONNECTIONS = 64;
const REQUEST_TIMEOUT_MS = 5_000;
const NOT_FOUND: ProbeResult = { status: 404, detail: "there is no such probe" };

async function answerTo(url: string, { application, probes, isReady }: ProbeServerOptions): Promise<ProbeResult> {
  if (url === READY_PATH) return (await isReady()) ? { status: 200, detail: "ready" } : { status: 503, detail: "the proxy is not ready" };
  const probe = probes.get(url);
  return probe === undefined ? NOT_FOUND : probeApplication(application, probe);
}

function send(response: ServerResponse, { status, detail }: ProbeResult): void {
  response.writeHead(status, { "content-type": "text/plain", connection: "close" });
  response.end(`${detail}\n`);
}

/** Anybody may ask: an answer says whether something answers, and nothing of what. Throws `address-in-use`, `unavailable`. */
export function startProbeServer(options: ProbeServerOptions): Promise<Server> {
  const times = { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS, connectionsCheckingInterval: 1_000 };
  const limits = { ...times, maxHeaderSize: 8192 };
  const server = createServer(limits, (request, response) => {
    request.resume();
    const answer = request.method === "GET" ? answerTo(request.url ?? "", options) : Promise.resolve(NOT_FOUND);
    answer.then(
      (result) => send(response, result),
      () => send(response, { status: 500, detail: "the probe failed" }),
    );
  });
  server.maxConnections = MAX_CONNECTIONS;
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const code = cause.code === "EADDRINUSE" ? "address-in-use" : "unavailable";
      reject(new AppError(code, "cannot listen for the node's probes", { where: `${options.host}:${options.port}`, cause }));
    });
    server.listen(options.port, listenHost(options.host), () => resolve(server));
  });
}
