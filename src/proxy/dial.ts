/** Connections to other proxies and to servers outside: TCP, TLS, and who answers. */
import { connect, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { CLIENT_ALPN } from "../compile/mesh-alpn.ts";
import type { ServiceEndpoint, UpstreamService } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import type { Credentials } from "./credentials.ts";
import type { Limits } from "./limits.ts";
import type { OpenServers } from "./open-servers.ts";
import { peerOf } from "./peer-certificate.ts";
import type { Resolver } from "./resolver.ts";
import { ORIGINATION_ALPN, type OriginationContext, serverNameFlaw } from "./tls-origination.ts";
import { chainOfServer, type PresentedChain } from "./trusted-bundles.ts";

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
export function namingFlaw(der: Uint8Array, expected: readonly string[], revoked?: ReadonlySet<string>): AppError | undefined {
  try {
    const { identity, digest } = peerOf(der);
    if (revoked?.has(digest) === true) return new AppError("permission-denied", "secure naming: the server's certificate is revoked");
    if (expected.includes(identity)) return undefined;
    const wanted = expected.map((one) => `\`${one}\``).join(" or ");
    return new AppError("permission-denied", `secure naming: the server is \`${identity.slice(0, 300)}\`, not ${wanted}`);
  } catch (thrown) {
    return new AppError("permission-denied", `secure naming: ${AppError.from(thrown).message}`, { cause: thrown });
  }
}

/** Why the server's certificate is not of its own trust domain; undefined where it is. */
function domainFlaw(chain: PresentedChain, credentials: Credentials): AppError | undefined {
  try {
    credentials.checkDomain(chain, "server");
    return undefined;
  } catch (thrown) {
    return new AppError("permission-denied", `secure naming: ${AppError.from(thrown).message}`, { cause: thrown });
  }
}

/** Codes of Node's and OpenSSL's verification, which are about who the server is; any other failure is about reaching it. */
function isVerification(error: Error & { readonly code?: string }): boolean {
  return /^(?:CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_(?:CA|PURPOSE)|ERR_SSL_CERTIFICATE_VERIFY|ERROR_IN_CERT|PATH_LENGTH|CRL_)/.test(
    error.code ?? "",
  );
}

export interface DialOptions {
  readonly service: UpstreamService;
  readonly endpoint: ServiceEndpoint;
  readonly credentials: Credentials;
  readonly limits: Limits;
  readonly resolver: Resolver;
  readonly servers: OpenServers;
  /** For a service with `tls`. */
  readonly origination: OriginationContext | undefined;
}

type TlsOptions = ConnectionOptions & { readonly allowHalfOpen: true };

/** The mesh's mutual TLS. */
function meshTls({ service, credentials, servers }: DialOptions, identities: readonly string[]): TlsOptions {
  return {
    secureContext: credentials.clientContext,
    servername: service.sni,
    ALPNProtocols: [...CLIENT_ALPN[service.protocol]],
    rejectUnauthorized: true,
    // Runs after the chain is verified and before the connection is handed over: not one byte is sent to a wrong server.
    checkServerIdentity: (_name, certificate) =>
      namingFlaw(certificate.raw, identities, servers.revoked) ?? domainFlaw(chainOfServer(certificate), credentials),
    allowHalfOpen: true,
  };
}

/** TLS to a server with a certificate of its own. */
async function ownTls({ protocol }: UpstreamService, origination: OriginationContext): Promise<TlsOptions> {
  const { sni, verify } = origination.tls;
  return {
    secureContext: await origination.get(),
    servername: sni,
    ALPNProtocols: [...ORIGINATION_ALPN[protocol]],
    rejectUnauthorized: verify !== "nothing",
    checkServerIdentity: (_name, certificate) => (verify === "nothing" ? undefined : serverNameFlaw(certificate.raw, verify.names)),
    allowHalfOpen: true,
  };
}

/** How the endpoint is secured; undefined for plaintext. A service with `tls` is never spoken to without. */
async function tlsOptions(options: DialOptions): Promise<TlsOptions | undefined> {
  const { service, endpoint, origination } = options;
  if (endpoint.mtls) return meshTls(options, [endpoint.identity, ...(endpoint.aliases ?? [])]);
  if (service.tls === undefined) return undefined;
  if (origination === undefined) throw new AppError("internal", "there is no TLS for a service that must have it");
  return ownTls(service, origination);
}

async function dialAddress(options: DialOptions, host: string): Promise<Socket> {
  const { port } = options.endpoint;
  const tls = await tlsOptions(options);
  if (tls === undefined) return connected(connect({ host, port, noDelay: true, allowHalfOpen: true }), "connect", options.limits.connectMs);
  const socket = connectTls({ ...tls, host, port });
  socket.setNoDelay(true);
  return connected(socket, "secureConnect", options.limits.connectMs);
}

function failureAt(where: string, thrown: unknown): AppError {
  if (isNamingRefusal(thrown)) return new AppError(thrown.code, `${thrown.message}, at ${where}`, { cause: thrown });
  if (thrown instanceof AppError) return thrown;
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  if (isVerification(error))
    return new AppError("permission-denied", `secure naming: the certificate at ${where} is not trusted`, { cause: error });
  return new AppError("unavailable", `connection to ${where} failed`, { cause: error });
}

/** Of the addresses that a name stands for, how many are tried for one connection. */
const MAX_TRIES = 3;

/**
 * A connection to an endpoint whose server has proved what the service asks; plaintext only where the endpoint is said
 * to take nothing else. Rejects with `permission-denied` for a wrong server, `unavailable` for none.
 */
export async function dial(options: DialOptions): Promise<Socket> {
  const { service, endpoint, limits, resolver } = options;
  const { address, port } = endpoint;
  const own = endpoint.secondAddress === undefined ? [address] : [address, endpoint.secondAddress];
  const addresses = service.resolution === undefined ? own : await resolver.resolve(address, limits.connectMs);
  const tries = service.resolution === "DNS_ROUND_ROBIN" ? 1 : MAX_TRIES;
  let failure = new AppError("unavailable", `\`${address}\` has no address`);
  for (const host of addresses.slice(0, tries)) {
    try {
      return await dialAddress(options, host);
    } catch (thrown) {
      failure = failureAt(`${host}:${port}`, thrown);
    }
  }
  throw failure;
}
