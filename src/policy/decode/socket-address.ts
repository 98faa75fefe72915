/** Where something listens: `127.0.0.1:8080`, `[::1]:8080`, `unix:///run/app.sock`. */
import type { Endpoint } from "../model.ts";
import { type Decoder, text, wrong } from "./reader.ts";
import { quote } from "./report.ts";

export const UNIX_SCHEME = "unix://";
/** `sun_path` of Linux, less its final NUL (unix(7)). */
const MAX_SOCKET_PATH = 107;

function utf8Length(text: string): number {
  let length = 0;
  for (const character of text) {
    const point = character.codePointAt(0) ?? 0;
    length += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
  }
  return length;
}

/** `unix:///PATH`. */
export const unixEndpoint: Decoder<Extract<Endpoint, { readonly kind: "unix" }>> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  const path = value.slice(UNIX_SCHEME.length);
  if (path.startsWith("@"))
    return wrong(cursor, "GAR0004", `is not supported: ${quote(value)}`, "use a socket with a path: abstract sockets have no owner");
  if (!path.startsWith("/") || path.endsWith("/") || path.includes("\0")) {
    return wrong(cursor, "GAR0007", `is not the path of a Unix socket: ${quote(value)}`, "write it as `unix:///run/app/app.sock`");
  }
  if (utf8Length(path) > MAX_SOCKET_PATH)
    return wrong(cursor, "GAR0009", `is longer than ${MAX_SOCKET_PATH} bytes: ${quote(path)}`, "use a shorter path");
  return { kind: "unix", path };
};

/** Istio's closed list of hosts for `defaultEndpoint`: the workload itself, by loopback or (`0.0.0.0`, `[::]`) by its own address. */
const TCP = /^(127\.0\.0\.1|0\.0\.0\.0|\[::1\]|\[::\]):([1-9]\d{0,4})$/;

/** Istio `Sidecar.ingress[].defaultEndpoint`; IPv6 hosts without their brackets. */
export const defaultEndpoint: Decoder<Endpoint> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  if (value.startsWith(UNIX_SCHEME)) return unixEndpoint(cursor);
  const [, host = "", portText = ""] = TCP.exec(value) ?? [];
  const port = Number(portText);
  if (host !== "" && port <= 65_535) return { kind: "tcp", host: host.replace(/[[\]]/g, ""), port };
  const help = "write `127.0.0.1:PORT`, `[::1]:PORT`, `0.0.0.0:PORT` (the workload's own address) or `unix:///PATH`";
  return wrong(cursor, "GAR0007", `is not a place where the workload listens: ${quote(value)}`, help);
};
