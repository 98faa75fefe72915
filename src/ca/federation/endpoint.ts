/** The endpoint where other trust domains fetch this one's bundle (SPIFFE Federation §4, §5). */
import { createPrivateKey, hash, X509Certificate } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { AppError } from "../../core/error.ts";
import { listenHost } from "../../core/listen-host.ts";
import type { Logger } from "../../core/logger.ts";
import type { TlsMaterial } from "../../rpc/credentials.ts";

type Pair = Pick<TlsMaterial, "key" | "chain">;

export interface BundleEndpointOptions {
  readonly listen: { readonly host: string; readonly port: number };
  /** What the server proves itself by, at this moment. */
  readonly material: () => Pair;
  /** The document; undefined as long as there is none. */
  readonly bundle: () => string | undefined;
  readonly logger: Logger;
  /** Milliseconds between two looks at the material. */
  readonly lookMs?: number;
}

export interface BundleEndpoint {
  readonly port: number;
  close(): void;
}

const MAX_CONNECTIONS = 256;
const REQUEST_MS = 10_000;
const LOOK_MS = 1_000;
/** Files are half-written for a moment; who is told of it can do something. */
const FLAWED_LOOKS = 5;

function answer({ method, headers }: IncomingMessage, response: ServerResponse, bundle: BundleEndpointOptions["bundle"]): void {
  response.setHeader("connection", "close");
  if (method !== "GET") {
    response.writeHead(405, { allow: "GET" }).end();
    return;
  }
  const document = bundle();
  if (document === undefined) {
    response.writeHead(503, { "retry-after": "1" }).end();
    return;
  }
  const etag = `"${hash("sha256", document, "base64url")}"`;
  if (headers["if-none-match"] === etag) response.writeHead(304, { etag }).end();
  else response.writeHead(200, { "content-type": "application/json", etag }).end(document);
}

/** Of a file that is empty, OpenSSL would make a server without a certificate. Throws `invalid-configuration`. */
function checkPair({ key, chain }: Pair): void {
  try {
    if (new X509Certificate(chain).checkPrivateKey(createPrivateKey(key))) return;
  } catch (cause) {
    throw new AppError("invalid-configuration", "the bundle endpoint's certificate or key is not PEM of one", { cause });
  }
  throw new AppError("invalid-configuration", "the bundle endpoint's certificate is for another key than the one that was given", {
    help: "give a certificate chain, and the private key of its first certificate",
  });
}

function open({ key, chain }: Pair, bundle: BundleEndpointOptions["bundle"]): Server {
  const times = {
    handshakeTimeout: REQUEST_MS,
    requestTimeout: REQUEST_MS,
    headersTimeout: REQUEST_MS,
    connectionsCheckingInterval: 1_000,
  };
  const options = { key, cert: chain, maxHeaderSize: 8_192, ...times };
  const server = createServer(options, (request, response) => {
    request.resume();
    answer(request, response, bundle);
  });
  server.maxConnections = MAX_CONNECTIONS;
  return server;
}

/** Looks at the material again and again; what is whole is in force for the next connection. Returns what ends it. */
function follow(server: Server, first: Pair, { material, logger, lookMs = LOOK_MS }: BundleEndpointOptions): () => void {
  let current = first;
  let flawed = 0;
  const look = () => {
    try {
      const next = material();
      if (next.key !== current.key || next.chain !== current.chain) {
        checkPair(next);
        server.setSecureContext({ key: next.key, cert: next.chain });
        current = next;
      }
      flawed = 0;
    } catch (thrown) {
      flawed += 1;
      if (flawed !== FLAWED_LOOKS) return;
      const { message } = AppError.from(thrown);
      logger.log("error", "the bundle endpoint's certificate cannot be taken, the one before stays", { reason: message });
    }
  };
  const timer = setInterval(look, lookMs).unref();
  return () => clearInterval(timer);
}

/**
 * Serves until it is closed; a certificate that changes is in force for the next connection. Throws `address-in-use`, `unavailable`, and
 * `invalid-configuration` for a certificate that is none.
 */
export async function serveBundle(options: BundleEndpointOptions): Promise<BundleEndpoint> {
  const { host, port } = options.listen;
  const first = options.material();
  checkPair(first);
  const server = open(first, options.bundle);
  server.listen(port, listenHost(host));
  try {
    await once(server, "listening");
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code === "EADDRINUSE" ? "address-in-use" : "unavailable";
    throw new AppError(code, `the bundle endpoint cannot listen at \`${host}:${port}\``, { cause });
  }
  const end = follow(server, first, options);
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      end();
      server.close();
      server.closeAllConnections();
    },
  };
}
