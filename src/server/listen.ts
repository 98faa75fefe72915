/** Binding gRPC servers, with errors that people understand. */
import type { Server } from "@grpc/grpc-js";
import { AppError, type ErrorCode } from "../core/error.ts";
import { openTlsPort, type TlsPort, type TlsPortOptions } from "../rpc/tls-port.ts";

/** What the system or gRPC says, and what that means. */
const REASONS: readonly (readonly [sign: RegExp, code: ErrorCode, message: string, help: string])[] = [
  [/EADDRINUSE/, "address-in-use", "another process listens there already", "end it, or choose another address with --listen HOST:PORT"],
  [/EACCES/, "permission-denied", "this user may not listen there", "choose a port from 1024 up with --listen HOST:PORT"],
  [
    /EADDRNOTAVAIL|ENOTFOUND|EAI_AGAIN/,
    "unavailable",
    "this machine has no such address",
    "choose one of its own with --listen HOST:PORT, such as `127.0.0.1:15012`",
  ],
];

function bindFailure(where: string, cause: Error): AppError {
  const [, code, message, help] = REASONS.find(([sign]) => sign.test(cause.message)) ?? [];
  if (code === undefined || message === undefined || help === undefined)
    return new AppError("unavailable", `cannot listen: ${cause.message}`, { where, cause });
  return new AppError(code, message, { where, help, cause });
}

/** `HOST:PORT` or `[HOST]:PORT`. */
export function formatHostPort({ host, port }: { readonly host: string; readonly port: number }): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Serves at the address; port 0 takes any free one. Throws `address-in-use`, `permission-denied` or `unavailable`. */
export async function listenTls(server: Server, options: TlsPortOptions): Promise<TlsPort> {
  try {
    return await openTlsPort(server, options);
  } catch (thrown) {
    throw bindFailure(formatHostPort(options.listen), AppError.from(thrown));
  }
}
