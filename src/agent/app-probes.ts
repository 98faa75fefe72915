/**
 * The application's probes as the node asks them of the agent: the node comes in plaintext, which the workload's port refuses, so the
 * agent asks in its stead, from the address whose connections are not captured.
 */
import { AppError } from "../core/error.ts";

/** What Kubernetes asks (`core/v1` Probe), without how often. */
export type AppProbe = { readonly timeoutSeconds: number } & (
  | {
      readonly kind: "http";
      readonly scheme: "HTTP" | "HTTPS";
      readonly port: number;
      readonly path: string;
      readonly headers: readonly (readonly [name: string, value: string])[];
    }
  | { readonly kind: "tcp"; readonly port: number }
  | { readonly kind: "grpc"; readonly port: number; readonly service: string }
);

/** By the path that the node asks for: `/app-health/CONTAINER/livez`, `readyz` or `startupz`. */
export type AppProbes = ReadonlyMap<string, AppProbe>;

const MAX_PROBES = 256;
const MAX_TIMEOUT_SECONDS = 60;
const PATH = /^\/app-health\/[a-z0-9][a-z0-9-]{0,62}\/(livez|readyz|startupz)$/;
/** RFC 9110 §5.6.2, and no control characters in values. */
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/;
const HEADER_VALUE = /^[\t\x20-\x7e]{0,4096}$/;
const REQUEST_PATH = /^\/[!-~]{0,2047}$/;

type Plain = Readonly<Record<string, unknown>>;

function isPlain(value: unknown): value is Plain {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function wrong(path: string): AppError {
  return new AppError("invalid-argument", `\`--app-probes\` has something else than a probe at \`${path.slice(0, 200)}\``, {
    help: "`garrison inject` writes it",
  });
}

function isNumberIn(value: unknown, least: number, most: number): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= least && value <= most;
}

function isHeader(value: unknown): value is readonly [string, string] {
  if (!Array.isArray(value) || value.length !== 2) return false;
  const [name, text] = value as readonly unknown[];
  return typeof name === "string" && typeof text === "string" && HEADER_NAME.test(name) && HEADER_VALUE.test(text);
}

function readProbe(path: string, value: unknown): AppProbe {
  if (!PATH.test(path) || !isPlain(value)) throw wrong(path);
  const { kind, port, timeoutSeconds } = value;
  if (!isNumberIn(port, 1, 65_535) || !isNumberIn(timeoutSeconds, 1, MAX_TIMEOUT_SECONDS)) throw wrong(path);
  if (kind === "tcp") return { kind, port, timeoutSeconds };
  if (kind === "grpc" && typeof value.service === "string") return { kind, port, timeoutSeconds, service: value.service };
  const { scheme, path: requested, headers } = value;
  if (kind !== "http" || (scheme !== "HTTP" && scheme !== "HTTPS")) throw wrong(path);
  if (typeof requested !== "string" || !REQUEST_PATH.test(requested) || !Array.isArray(headers) || !headers.every(isHeader))
    throw wrong(path);
  return { kind, scheme, port, path: requested, headers, timeoutSeconds };
}

/** The JSON of `--app-probes`: an object of probes by path. Throws `invalid-argument`. */
export function parseAppProbes(text: string): AppProbes {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new AppError("invalid-argument", "`--app-probes` is not JSON", { help: "`garrison inject` writes it" });
  }
  if (!isPlain(value) || Object.keys(value).length > MAX_PROBES) throw wrong("/");
  return new Map(Object.entries(value).map(([path, probe]) => [path, readProbe(path, probe)]));
}
