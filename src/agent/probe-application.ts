/** One probe of the application, as the kubelet would do it. */
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import type { AppProbe } from "./app-probes.ts";
import { request, requestTls } from "./node-http.ts";
import { encodeMessage, readFields } from "./protobuf.ts";

/** What came of it: the kubelet takes 200 to 399 for a success. */
export interface ProbeResult {
  readonly status: number;
  /** For the kubelet's event, without anything of the application's. */
  readonly detail: string;
}

type Probe<K extends AppProbe["kind"]> = Extract<AppProbe, { readonly kind: K }>;

const OK: ProbeResult = { status: 200, detail: "ok" };
const TIMED_OUT: ProbeResult = { status: 504, detail: "the application did not answer in time" };
const SERVING = 1;
const MAX_ANSWER = 4096;

function failed(error: Error & { readonly code?: string }): ProbeResult {
  return { status: 503, detail: `the application cannot be reached: ${error.code ?? "failed"}` };
}

/** The source address that `garrison capture` lets through to the workload's own address. */
function uncaptured(host: string): string {
  return host.includes(":") ? "::6" : "127.0.0.6";
}

/** From where the application is asked: the address that is not captured, or whichever the system takes. */
type Source = "uncaptured" | "any";

function from(host: string, source: Source): { readonly localAddress?: string } {
  return source === "any" ? {} : { localAddress: uncaptured(host) };
}

function probeHttp(host: string, probe: Probe<"http">, source: Source, signal: AbortSignal): Promise<ProbeResult> {
  const { port, path, scheme } = probe;
  const headers = {
    host: `${host.includes(":") ? `[${host}]` : host}:${port}`,
    "user-agent": "kube-probe/garrison",
    ...Object.fromEntries(probe.headers),
  };
  const options = { host, port, path, method: "GET", ...from(host, source), agent: false, signal, headers };
  return new Promise((resolve) => {
    // As the kubelet, which does not look at the certificate either: what is asked is whether somebody answers.
    const outgoing = scheme === "HTTPS" ? requestTls({ ...options, rejectUnauthorized: false }) : request(options);
    outgoing.on("response", (incoming) => {
      incoming.destroy();
      const status = incoming.statusCode ?? 500;
      // A redirect is a success of the application's; it is not for the kubelet to follow it through the agent.
      if (status >= 200 && status < 400) resolve(OK);
      else resolve({ status: status < 200 ? 500 : status, detail: `the application answered ${status}` });
    });
    outgoing.on("error", (error) => resolve(signal.aborted ? TIMED_OUT : failed(error)));
    outgoing.end();
  });
}

function probeTcp(host: string, { port }: Probe<"tcp">, source: Source, signal: AbortSignal): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, ...from(host, source), signal });
    socket.once("connect", () => {
      socket.destroy();
      resolve(OK);
    });
    socket.once("error", (error) => resolve(signal.aborted ? TIMED_OUT : failed(error)));
  });
}

/** `grpc.health.v1.HealthCheckResponse.status` of one message with its five bytes of prefix; undefined for anything else. */
function servingStatus(answer: Buffer): number | undefined {
  if (answer.length < 5 || answer[0] !== 0 || answer.readUInt32BE(1) !== answer.length - 5) return undefined;
  let status = 0;
  try {
    readFields(answer.subarray(5), {}, { 1: (value) => (status = value) });
  } catch {
    return undefined;
  }
  return status;
}

/** GRPC Health Checking Protocol: `grpc.health.v1.Health/Check`. */
function probeGrpc(host: string, { port, service }: Probe<"grpc">, source: Source, signal: AbortSignal): Promise<ProbeResult> {
  const message = encodeMessage(service === "" ? [] : [[1, service]]);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return new Promise((resolve) => {
    const socket = connect({ host, port, ...from(host, source), signal });
    const session = connectHttp2(`http://${host.includes(":") ? `[${host}]` : host}:${port}`, { createConnection: () => socket });
    const end = (result: ProbeResult): void => {
      resolve(result);
      session.destroy();
      socket.destroy();
    };
    const fail = (error: Error): void => end(signal.aborted ? TIMED_OUT : failed(error));
    session.on("error", fail);
    socket.on("error", fail);
    const stream = session.request({
      ":method": "POST",
      ":path": "/grpc.health.v1.Health/Check",
      "content-type": "application/grpc",
      te: "trailers",
    });
    const chunks: Buffer[] = [];
    let length = 0;
    stream.on("error", fail);
    stream.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length > MAX_ANSWER) end({ status: 503, detail: "the application's answer is too long" });
      else chunks.push(chunk);
    });
    stream.on("close", () => {
      const status = servingStatus(Buffer.concat(chunks));
      end(status === SERVING ? OK : { status: 503, detail: `the application says that it is not serving (${status ?? "no answer"})` });
    });
    stream.end(Buffer.concat([prefix, message]));
  });
}

/** Asks the application at the workload's own address, or at another of this machine. Never rejects. */
export function probeApplication(host: string, probe: AppProbe, source: Source = "uncaptured"): Promise<ProbeResult> {
  const signal = AbortSignal.timeout(probe.timeoutSeconds * 1000);
  switch (probe.kind) {
    case "http":
      return probeHttp(host, probe, source, signal);
    case "tcp":
      return probeTcp(host, probe, source, signal);
    case "grpc":
      return probeGrpc(host, probe, source, signal);
  }
}
