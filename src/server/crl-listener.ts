/**
 * The list of revoked certificates over plain HTTP, as verifiers outside the mesh fetch it (RFC 5280 §4.2.1.13): it is signed, so that who carries
 * it does not matter, and public, so that nobody is asked who he is.
 */
import { hash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { AuthorityList } from "../ca/revocation-list.ts";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { RateLimit } from "../rpc/rate-limit.ts";
import { parsePem } from "../x509/pem.ts";

export interface CrlListenerOptions {
  readonly listen: { readonly host: string; readonly port: number };
  /** The newest lists: of the authority that signs, then of others that are trusted still. */
  readonly lists: () => Promise<readonly AuthorityList[]>;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface CrlListener {
  readonly port: number;
  close(): void;
}

/** Of the authority that signs now. */
const PATH = "/ca.crl";
/** Of the authority with this key identifier, as long as it is trusted. */
const OF_AUTHORITY = /^\/([0-9a-f]{16,128})\.crl$/;
/** A verifier asks once in a while; those behind one address share a part. */
const LIMITS = { perSecond: 50, atOnce: 200 } as const;
const MAX_CONNECTIONS = 512;
const TIMEOUT_MS = 10_000;
/** How long a copy may stand for the list. */
const FRESH_SECONDS = 60;

interface Served {
  readonly pem: string;
  readonly der: Uint8Array;
  readonly etag: string;
}

interface Answer {
  readonly status: number;
  readonly fields?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

/** One address names one list. */
function served(pem: string): Served {
  const [der] = parsePem(pem, "X509 CRL");
  if (der === undefined) throw new AppError("unavailable", "there is no list");
  return { pem, der, etag: `"${hash("sha256", der, "hex").slice(0, 32)}"` };
}

/** RFC 9110 §13.1.2, by weak comparison. */
function isKnown(ifNoneMatch: string | undefined, etag: string): boolean {
  const tags = (ifNoneMatch ?? "").split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  return tags.includes(etag) || tags.includes("*");
}

class CrlHandler {
  readonly #options: CrlListenerOptions;
  readonly #limit: RateLimit;
  /** By its text. */
  #served: ReadonlyMap<string, Served> = new Map();

  constructor(options: CrlListenerOptions) {
    this.#options = options;
    this.#limit = new RateLimit({ ...LIMITS, clock: options.clock });
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { status, fields = {}, body } = await this.#answer(request);
    const length = status === 304 ? {} : { "content-length": String(body?.length ?? 0) };
    response.writeHead(status, { ...length, ...fields });
    response.end(request.method === "HEAD" ? undefined : body);
  }

  async #answer({ method, url, headers, socket }: IncomingMessage): Promise<Answer> {
    const authority = OF_AUTHORITY.exec(url ?? "")?.[1];
    if (url !== PATH && authority === undefined) return { status: 404 };
    if (method !== "GET" && method !== "HEAD") return { status: 405, fields: { allow: "GET, HEAD" } };
    try {
      this.#limit.take(socket.remoteAddress ?? "");
      const found = await this.#newest(authority);
      if (found === undefined) return { status: 404 };
      const { der, etag } = found;
      const fields = { etag, "cache-control": `max-age=${FRESH_SECONDS}` };
      if (isKnown(headers["if-none-match"], etag)) return { status: 304, fields };
      return { status: 200, fields: { ...fields, "content-type": "application/pkix-crl" }, body: der };
    } catch (thrown) {
      const error = AppError.from(thrown);
      if (error.code === "resource-exhausted") return { status: 429, fields: { "retry-after": "1" } };
      this.#options.logger.log("error", "the list of revoked certificates cannot be served", { reason: error.message });
      return { status: 503 };
    }
  }

  /** Undefined for an authority that is not there, or no more. */
  async #newest(authority: string | undefined): Promise<Served | undefined> {
    const lists = await this.#options.lists();
    const known = this.#served;
    this.#served = new Map(lists.map(({ pem }) => [pem, known.get(pem) ?? served(pem)]));
    const list = authority === undefined ? lists[0] : lists.find((each) => each.authority === authority);
    return list === undefined ? undefined : this.#served.get(list.pem);
  }
}

/** Serves the list until it is closed. Throws `unavailable` where it cannot listen. */
export async function serveCrl(options: CrlListenerOptions): Promise<CrlListener> {
  const { host, port } = options.listen;
  const handler = new CrlHandler(options);
  const [half, connectionsCheckingInterval] = [TIMEOUT_MS / 2, 1_000];
  const limits = {
    maxHeaderSize: 8_192,
    requestTimeout: TIMEOUT_MS,
    headersTimeout: half,
    keepAliveTimeout: half,
    connectionsCheckingInterval,
  };
  const server = createServer(limits, (request, response) => void handler.handle(request, response));
  server.maxConnections = MAX_CONNECTIONS;
  server.setTimeout(TIMEOUT_MS);
  server.on("clientError", (_error, socket) => socket.destroy());
  try {
    server.listen(port, host);
    await once(server, "listening");
  } catch (cause) {
    throw new AppError("unavailable", `the list of revoked certificates cannot be served: ${AppError.from(cause).message}`, {
      where: `${host}:${port}`,
      help: "choose another address with --crl-listen HOST:PORT",
      cause,
    });
  }
  const { port: bound } = server.address() as AddressInfo;
  options.logger.log("info", "the list of revoked certificates is served", { url: `http://${host}:${bound}${PATH}` });
  const close = (): void => {
    server.close();
    server.closeAllConnections();
  };
  return { port: bound, close };
}
