/** The endpoint where other trust domains fetch this one's bundle (SPIFFE Federation §4, §5). */
import { hash } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { AppError } from "../../core/error.ts";
import type { TlsMaterial } from "../../rpc/credentials.ts";

export interface BundleEndpointOptions {
  readonly listen: { readonly host: string; readonly port: number };
  /** What the server proves itself by, at this moment. */
  readonly material: () => Pick<TlsMaterial, "key" | "chain">;
  /** The document. */
  readonly bundle: () => string;
}

export interface BundleEndpoint {
  readonly port: number;
  close(): void;
}

const MAX_CONNECTIONS = 256;
const REQUEST_MS = 10_000;
const LOOK_MS = 1_000;

function answer({ method, headers }: IncomingMessage, response: ServerResponse, bundle: () => string): void {
  response.setHeader("connection", "close");
  if (method !== "GET") {
    response.writeHead(405, { allow: "GET" }).end();
    return;
  }
  const document = bundle();
  const etag = `"${hash("sha256", document, "base64url")}"`;
  if (headers["if-none-match"] === etag) response.writeHead(304, { etag }).end();
  else response.writeHead(200, { "content-type": "application/json", etag }).end(document);
}

/** Serves until it is closed; a certificate that changes is in force for the next connection. Throws `address-in-use` and `unavailable`. */
export async function serveBundle({ listen, material, bundle }: BundleEndpointOptions): Promise<BundleEndpoint> {
  const context = () => {
    const { key, chain } = material();
    return { key, cert: chain };
  };
  let current = context();
  const server: Server = createServer({ ...current, handshakeTimeout: REQUEST_MS, maxHeaderSize: 8_192 }, (request, response) => {
    request.resume();
    answer(request, response, bundle);
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.requestTimeout = REQUEST_MS;
  server.headersTimeout = REQUEST_MS;
  server.listen(listen.port, listen.host);
  try {
    await once(server, "listening");
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code === "EADDRINUSE" ? "address-in-use" : "unavailable";
    throw new AppError(code, `the bundle endpoint cannot listen at \`${listen.host}:${listen.port}\``, { cause });
  }
  const timer = setInterval(() => {
    try {
      const next = context();
      if (next.key === current.key && next.cert === current.cert) return;
      server.setSecureContext(next);
      current = next;
    } catch {
      // Half-written files: the certificate before serves on, and they are looked at again.
    }
  }, LOOK_MS).unref();
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      clearInterval(timer);
      server.close();
      server.closeAllConnections();
    },
  };
}
