/** One document by HTTP(S), bounded in size, time and redirects, from no address that the guard refuses. */
import { type LookupAddress, type LookupOptions, lookup as systemLookup } from "node:dns";
import { once } from "node:events";
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { isIP, type LookupFunction } from "node:net";
import { AppError } from "../core/error.ts";
import type { AddressGuard } from "./address-guard.ts";

/** Where a name leads; the system's resolver but in tests. */
export type Resolve = (
  hostname: string,
  options: LookupOptions,
  callback: (error: NodeJS.ErrnoException | null, addresses: readonly LookupAddress[]) => void,
) => void;

export interface FetchOptions {
  readonly guard: AddressGuard;
  readonly resolve?: Resolve;
}

const MAX_BYTES = 1_048_576;
const MAX_REDIRECTS = 3;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

const resolveBySystem: Resolve = (hostname, options, callback) => systemLookup(hostname, { ...options, all: true }, callback);

/** Asked by the socket itself, so that the addresses that are checked are those that are dialled (no DNS rebinding). */
export function guardedLookup({ guard, resolve = resolveBySystem }: FetchOptions, protocol: string): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, options, (error, addresses) => {
      try {
        if (error !== null) throw error;
        for (const { address } of addresses) guard.check(address, protocol);
        const [first] = addresses;
        if (first === undefined) throw new AppError("unavailable", `\`${hostname}\` has no address`);
        if (options.all === true) callback(null, [...addresses]);
        else callback(null, first.address, first.family);
      } catch (thrown) {
        callback(thrown instanceof Error ? thrown : new Error(String(thrown)), "", 0);
      }
    });
  };
}

function parseUrl(text: string, base?: URL): URL {
  const url = URL.canParse(text, base) ? new URL(text, base) : undefined;
  if (url === undefined || (url.protocol !== "https:" && url.protocol !== "http:"))
    throw new AppError("invalid-argument", "the address is not one of HTTP or HTTPS");
  if (url.username !== "" || url.password !== "") throw new AppError("invalid-argument", "the address holds a user name or password");
  return url;
}

/** An address needs no lookup, and so would pass by its check. Throws `permission-denied`. */
export function checkHost({ hostname, protocol }: URL, guard: AddressGuard): void {
  const host = hostname.replace(/^\[|\]$/g, "");
  if (isIP(host) !== 0) guard.check(host, protocol);
}

/** The response's head; what comes after it is not read yet. */
async function open(url: URL, signal: AbortSignal, options: FetchOptions): Promise<IncomingMessage> {
  checkHost(url, options.guard);
  const isHttps = url.protocol === "https:";
  const call = (isHttps ? httpsRequest : httpRequest)(url, {
    // Of its own: no connection is kept, and no proxy of the environment is asked.
    agent: isHttps ? new HttpsAgent() : new HttpAgent(),
    lookup: guardedLookup(options, url.protocol),
    signal,
    headers: { accept: "application/json", "accept-encoding": "identity", "user-agent": "garrison" },
    maxHeaderSize: 16_384,
  });
  call.end();
  const [response]: IncomingMessage[] = await once(call, "response", { signal });
  if (response === undefined) throw new AppError("unavailable", "there was no response");
  return response;
}

async function readBody(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    const bytes = Buffer.from(chunk);
    size += bytes.length;
    if (size > MAX_BYTES) throw new AppError("resource-exhausted", `the document has more than ${MAX_BYTES} bytes`);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString("utf8");
}

async function follow(url: URL, signal: AbortSignal, options: FetchOptions, redirects: number): Promise<string> {
  const response = await open(url, signal, options);
  response.on("error", () => undefined);
  try {
    const { statusCode = 0 } = response;
    const { location } = response.headers;
    if (REDIRECTS.has(statusCode) && location !== undefined) {
      if (redirects >= MAX_REDIRECTS) throw new AppError("unavailable", `there are more than ${MAX_REDIRECTS} redirects`);
      return await follow(parseUrl(location, url), signal, options, redirects + 1);
    }
    if (statusCode !== 200) throw new AppError("unavailable", `the answer has status ${statusCode}`);
    return await readBody(response);
  } finally {
    response.destroy();
  }
}

/**
 * The text of a document. Throws `permission-denied` for an address that the guard refuses, here or at a redirect,
 * `deadline-exceeded`, `resource-exhausted`, and `unavailable` with the reason.
 */
export async function fetchText(address: string, timeoutMs: number, options: FetchOptions): Promise<string> {
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    return await follow(parseUrl(address), signal, options, 0);
  } catch (thrown) {
    if (signal.aborted) throw new AppError("deadline-exceeded", `there was no whole answer in ${timeoutMs} ms`, { cause: thrown });
    if (thrown instanceof AppError) throw thrown;
    const reason = thrown instanceof Error && thrown.message !== "" ? thrown.message : String(thrown);
    throw new AppError("unavailable", reason.slice(0, 300), { cause: thrown });
  }
}
