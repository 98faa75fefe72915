/**
 * The list of revoked certificates over plain HTTP, as verifiers outside the mesh fetch it (RFC 5280 §4.2.1.13): it is signed, so that who carries
 * it does not matter, and public, so that nobody is asked who he is.
 */
import { hash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { AuthorityList } from "../ca/revocation-list.ts";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { RateLimit } from "../rpc/rate-limit.ts";
import { parsePem } from "../x509/pem.ts";
import { formatHostPort } from "./listen.ts";
import { type HttpAnswer, listenHttp } from "./plain-http.ts";

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
/** How long a copy may stand for the list. */
const FRESH_SECONDS = 60;

interface Served {
  readonly pem: string;
  readonly der: Uint8Array;
  readonly etag: string;
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

  async answer({ method, url, headers, socket }: IncomingMessage): Promise<HttpAnswer> {
    const authority = OF_AUTHORITY.exec(url ?? "")?.[1];
    if (url !== PATH && authority === undefined) return { status: 404 };
    if (method !== "GET" && method !== "HEAD") return { status: 405, fields: { allow: "GET, HEAD" } };
    this.#limit.take(socket.remoteAddress ?? "");
    const found = await this.#newest(authority);
    if (found === undefined) return { status: 404 };
    const { der, etag } = found;
    const fields = { etag, "cache-control": `max-age=${FRESH_SECONDS}` };
    if (isKnown(headers["if-none-match"], etag)) return { status: 304, fields };
    return { status: 200, fields: { ...fields, "content-type": "application/pkix-crl" }, body: der };
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
  const { listen, logger } = options;
  const handler = new CrlHandler(options);
  const server = await listenHttp({
    listen,
    what: "the list of revoked certificates cannot be served",
    help: "choose another address with --crl-listen HOST:PORT",
    answer: (request) => handler.answer(request),
    logger,
  });
  logger.log("info", "the list of revoked certificates is served", {
    url: `http://${formatHostPort({ host: listen.host, port: server.port })}${PATH}`,
  });
  return server;
}
