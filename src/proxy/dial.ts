/** Connections to other proxies: TCP, TLS, and who answers. */
import { connect, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";
import type { ServiceEndpoint, UpstreamService } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import type { Credentials } from "./credentials.ts";
import type { Limits } from "./limits.ts";
import { peerOf } from "./peer-certificate.ts";
import { CLIENT_ALPN } from "./tls.ts";

/** The socket once `event` came; rejects with its error, or when `timeoutMs` pass. */
export function connected<T extends Socket>(socket: T, event: "connect" | "secureConnect", timeoutMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => socket.destroy(new Error("timed out")), timeoutMs);
    const settle = (error: Error | undefined) => {
      clearTimeout(timer);
      socket.off("error", settle).off("close", closed).off(event, opened);
      if (error === undefined) resolve(socket);
      else reject(error);
    };
    const opened = () => settle(undefined);
    const closed = () => settle(new Error("closed"));
    socket.on("error", settle).on("close", closed).on(event, opened);
    // What fails after that is for whoever got the socket; an error that nobody hears would end the process.
    socket.on("error", () => undefined);
  });
}

/** A server that proved to be somebody else, or could not prove to be anybody. */
export function isNamingRefusal(error: unknown): error is AppError {
  return error instanceof AppError && error.code === "permission-denied";
}

/** Why the server of a verified certificate may not answer for the endpoint; undefined when it may (secure naming, for each endpoint). */
export function namingFlaw(
  der: Uint8Array,
  expected: string,
  aliases: readonly string[] = [],
  revoked: readonly string[] = [],
): AppError | undefined {
  try {
    const { identity, digest } = peerOf(der);
    if (revoked.includes(digest)) return new AppError("permission-denied", "secure naming: the server's certificate is revoked");
    if (identity === expected || aliases.includes(identity)) return undefined;
    return new AppError("permission-denied", `secure naming: the server is \`${identity.slice(0, 300)}\`, not \`${expected}\``);
  } catch (thrown) {
    return new AppError("permission-denied", `secure naming: ${AppError.from(thrown).message}`, { cause: thrown });
  }
}

/** Codes of Node's and OpenSSL's verification, which are about who the server is; any other failure is about reaching it. */
function isVerification(error: Error & { readonly code?: string }): boolean {
  return /^(?:CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_(?:CA|PURPOSE)|ERR_SSL_CERTIFICATE_VERIFY|ERROR_IN_CERT|PATH_LENGTH)/.test(
    error.code ?? "",
  );
}

export interface DialOptions {
  readonly service: UpstreamService;
  readonly endpoint: ServiceEndpoint;
  readonly credentials: Credentials;
  readonly limits: Limits;
  /** SHA-256 of the DER of each revoked certificate, in hex. */
  readonly revoked?: readonly string[];
}

function dialTls({ service, endpoint, credentials, limits, revoked }: DialOptions): Promise<TLSSocket> {
  const options: ConnectionOptions & { readonly allowHalfOpen: true } = {
    host: endpoint.address,
    port: endpoint.port,
    secureContext: credentials.clientContext,
    servername: service.sni,
    ALPNProtocols: [...CLIENT_ALPN[service.protocol]],
    rejectUnauthorized: true,
    // Runs after the chain is verified and before the connection is handed over: not one byte is sent to a wrong server.
    checkServerIdentity: (_name, certificate) => namingFlaw(certificate.raw, endpoint.identity, endpoint.aliases, revoked),
    allowHalfOpen: true,
  };
  const socket = connectTls(options);
  socket.setNoDelay(true);
  return connected(socket, "secureConnect", limits.connectMs);
}

/**
 * A connection to an endpoint whose server has proved the endpoint's identity; plaintext only where the endpoint takes
 * nothing else. Rejects with `permission-denied` for a wrong server, `unavailable` for none.
 */
export async function dial(options: DialOptions): Promise<Socket> {
  const { endpoint, limits } = options;
  const where = `${endpoint.address}:${endpoint.port}`;
  try {
    if (endpoint.mtls) return await dialTls(options);
    const socket = connect({ host: endpoint.address, port: endpoint.port, noDelay: true, allowHalfOpen: true });
    return await connected(socket, "connect", limits.connectMs);
  } catch (thrown) {
    if (isNamingRefusal(thrown)) throw new AppError(thrown.code, `${thrown.message}, at ${where}`, { cause: thrown });
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    if (isVerification(error))
      throw new AppError("permission-denied", `secure naming: the certificate at ${where} is not trusted`, { cause: error });
    throw new AppError("unavailable", `connection to ${where} failed`, { cause: error });
  }
}
