/** Requests to a Kubernetes API server, as whoever the kubeconfig says. */

import type { IncomingMessage } from "node:http";
import { Agent, type RequestOptions, request } from "node:https";
import { AppError } from "../../core/error.ts";

/** What reflectors and reviews need of an API server; a fake stands in for it in tests. */
export interface KubernetesApi {
  /** One request and its whole answer. Throws `unavailable`, `deadline-exceeded`, `resource-exhausted`. */
  call(method: ApiMethod, path: string, body?: unknown, contentType?: ContentType): Promise<ApiAnswer>;
  /** The lines of a watch as they come. Throws `unavailable` where it cannot begin; ends when the server or `signal` ends it. */
  watch(path: string, signal: AbortSignal): Promise<WatchAnswer>;
}

export type ApiMethod = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** RFC 6902 and RFC 7396, for PATCH. */
export const JSON_PATCH = "application/json-patch+json";
export const MERGE_PATCH = "application/merge-patch+json";
/** Server-side apply, whose YAML may be JSON. */
export const APPLY_PATCH = "application/apply-patch+yaml";

export type ContentType = "application/json" | typeof JSON_PATCH | typeof MERGE_PATCH | typeof APPLY_PATCH;

export interface ApiAnswer {
  readonly status: number;
  /** Decoded JSON; undefined where the body is none. */
  readonly body: unknown;
}

export interface WatchAnswer {
  readonly status: number;
  /** One JSON text each; they end where the server ends them, or falls silent. Throws `unavailable` when the connection breaks, `resource-exhausted` for a line too long. */
  readonly lines: AsyncIterable<string>;
}

const API_LIMITS = {
  /** Milliseconds for the head of an answer, and for a whole one. */
  callMs: 30_000,
  /** Bytes of one answer: a page of the largest objects that etcd takes (1.5 MiB each). */
  body: 512 * 1024 * 1024,
  /** Characters of one event of a watch. */
  line: 8 * 1024 * 1024,
  /**
   * A watch that is silent for so long is asked for anew, as its connection may be dead. The server sends a bookmark about every minute, but none of a
   * kind of which it has never seen an event.
   */
  silenceMs: 90_000,
} as const;

function unavailable(where: string, cause: unknown): AppError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new AppError("unavailable", `the Kubernetes API server cannot be reached: ${reason}`, { where, cause });
}

/** The lines of a stream of text, each bounded. Those of a watch that falls silent end, as of one that the server ends: the next question tells whether it is there. */
async function* linesOf(incoming: IncomingMessage, where: string, silenceMs: number): AsyncGenerator<string> {
  let rest = "";
  let isSilent = false;
  const silent = (): void => {
    isSilent = true;
    incoming.destroy();
  };
  const { socket } = incoming;
  socket.setTimeout(silenceMs, silent);
  try {
    for await (const chunk of incoming.setEncoding("utf8")) {
      const parts = (rest + String(chunk)).split("\n");
      rest = parts.pop() ?? "";
      if (rest.length > API_LIMITS.line) throw new AppError("resource-exhausted", "an event of a watch is too long", { where });
      yield* parts.filter((line) => line !== "");
    }
  } catch (error) {
    if (error instanceof AppError) throw error;
    if (!isSilent) throw unavailable(where, error);
  } finally {
    // The connection goes on to others, and its timer is theirs.
    socket.off("timeout", silent);
    incoming.destroy();
  }
}

async function wholeBody(incoming: IncomingMessage, where: string, maxBody: number): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of incoming) {
    length += chunk.length;
    if (length > maxBody) throw new AppError("resource-exhausted", "the answer of the API server is too long", { where });
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString("utf8");
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

interface Sent {
  readonly method: ApiMethod;
  readonly path: string;
  readonly body?: unknown;
  readonly contentType?: ContentType | undefined;
}

export interface HttpsApiOptions {
  /** Its URL. */
  readonly server: string;
  /** TLS material and headers, asked for with each request, as tokens expire. */
  readonly credentials: () => Promise<RequestOptions>;
  /** Milliseconds for one request and its whole answer; 30 s without. */
  readonly callMs?: number;
  /** Milliseconds after which a silent watch is asked for anew; 90 s without. */
  readonly silenceMs?: number;
  /** Bytes of one answer; a page of the largest objects without. */
  readonly maxBody?: number;
}

/** Connections are kept for as long as the TLS material stays. */
export class HttpsApi implements KubernetesApi {
  /** Its URL, without a slash at the end. */
  readonly server: string;
  readonly #credentials: () => Promise<RequestOptions>;
  readonly #callMs: number;
  readonly #maxBody: number;
  readonly #silenceMs: number;
  #agent: { readonly key: string; readonly agent: Agent } | undefined;

  constructor({
    server,
    credentials,
    callMs = API_LIMITS.callMs,
    maxBody = API_LIMITS.body,
    silenceMs = API_LIMITS.silenceMs,
  }: HttpsApiOptions) {
    this.#credentials = credentials;
    this.server = server.replace(/\/+$/, "");
    this.#callMs = callMs;
    this.#maxBody = maxBody;
    this.#silenceMs = silenceMs;
  }

  /** Ends the connections that are kept. */
  close(): void {
    this.#agent?.agent.destroy();
    this.#agent = undefined;
  }

  async call(method: ApiMethod, path: string, body?: unknown, contentType?: ContentType): Promise<ApiAnswer> {
    const signal = AbortSignal.timeout(this.#callMs);
    const where = this.server + path.split("?", 1)[0];
    try {
      const incoming = await this.#send({ method, path, body, contentType }, signal);
      return { status: incoming.statusCode ?? 0, body: await wholeBody(incoming, where, this.#maxBody) };
    } catch (error) {
      if (error instanceof AppError) throw error;
      if (signal.aborted) throw new AppError("deadline-exceeded", `the API server did not answer within ${this.#callMs} ms`, { where });
      throw unavailable(where, error);
    }
  }

  async watch(path: string, signal: AbortSignal): Promise<WatchAnswer> {
    const where = this.server + path.split("?", 1)[0];
    const head = AbortSignal.any([signal, AbortSignal.timeout(API_LIMITS.callMs)]);
    try {
      const incoming = await this.#send({ method: "GET", path }, signal, head);
      const status = incoming.statusCode ?? 0;
      if (status !== 200) incoming.destroy();
      return { status, lines: linesOf(incoming, where, this.#silenceMs) };
    } catch (error) {
      throw unavailable(where, error);
    }
  }

  /** Resolves with the head of the answer. `head` bounds the time until then, `signal` the whole. */
  async #send({ method, path, body, contentType }: Sent, signal: AbortSignal, head = signal): Promise<IncomingMessage> {
    const options = await this.#options();
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      ...options.headers,
      accept: "application/json",
      ...(payload === undefined ? {} : { "content-type": contentType ?? "application/json", "content-length": Buffer.byteLength(payload) }),
    };
    return new Promise((resolve, reject) => {
      const outgoing = request(this.server + path, { ...options, method, headers, signal }, (incoming) => {
        head.removeEventListener("abort", late);
        resolve(incoming);
      });
      const late = (): void => void outgoing.destroy(new Error("no answer in time"));
      head.addEventListener("abort", late, { once: true });
      outgoing.on("error", reject);
      outgoing.end(payload);
    });
  }

  async #options(): Promise<RequestOptions> {
    const options = await this.#credentials();
    const { ca, cert, key, servername } = options;
    const material = { ca, cert, key, ...(servername === undefined ? {} : { servername }) };
    const known = JSON.stringify(material);
    if (this.#agent?.key !== known)
      this.#agent = { key: known, agent: new Agent({ ...material, keepAlive: true, rejectUnauthorized: true }) };
    return { ...options, agent: this.#agent.agent, rejectUnauthorized: true };
  }
}

export interface KubeConfigSource extends Pick<HttpsApiOptions, "silenceMs"> {
  /** A kubeconfig; undefined takes `KUBECONFIG`, `~/.kube/config`, or the pod's own service account. */
  readonly file: string | undefined;
}

/** The API server of a kubeconfig's current context. Throws `invalid-configuration`, `not-found`. */
export async function openKubernetesApi({ file, ...limits }: KubeConfigSource): Promise<HttpsApi> {
  // Loaded only where Kubernetes is used: the library is 80 MB of memory.
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  const where = file ?? "the default kubeconfig";
  try {
    if (file === undefined) config.loadFromDefault();
    else config.loadFromFile(file);
  } catch (cause) {
    const help = "name a kubeconfig with `--kubeconfig`, or set `KUBECONFIG`";
    throw new AppError("not-found", "the kubeconfig cannot be read", { where, cause, help });
  }
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new AppError("invalid-configuration", "the kubeconfig's current context names no cluster", { where });
  if (cluster.skipTLSVerify === true) {
    const help = "put the API server's root into `certificate-authority`: whoever stood between would hand out every identity";
    throw new AppError("invalid-configuration", "`insecure-skip-tls-verify` is refused", { where, help });
  }
  if (!cluster.server.startsWith("https://")) {
    throw new AppError("invalid-configuration", `the API server \`${cluster.server}\` is not reached by TLS`, { where });
  }
  const credentials = async (): Promise<RequestOptions> => {
    const options: RequestOptions = {};
    await config.applyToHTTPSOptions(options);
    return options;
  };
  return new HttpsApi({ server: cluster.server, credentials, ...limits });
}
