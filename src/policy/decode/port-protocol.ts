/** Istio's protocol selection: how a port says what its bytes are. */
import type { Protocol } from "../model.ts";

/** By Istio's names, in lower case. TLS of the application's own is opaque bytes to the proxy. */
const PROTOCOLS: ReadonlyMap<string, Protocol> = new Map([
  ["http", "http"],
  ["http_proxy", "http"],
  ["grpc-web", "http"],
  ["http2", "http2"],
  ["grpc", "http2"],
  ["tcp", "tcp"],
  ["https", "tcp"],
  ["tls", "tcp"],
  ["mongo", "tcp"],
  ["redis", "tcp"],
  ["mysql", "tcp"],
]);

/** Kubernetes' own values of `appProtocol` (KEP-3726). */
const APP_PROTOCOLS: ReadonlyMap<string, Protocol> = new Map([
  ["kubernetes.io/h2c", "http2"],
  ["kubernetes.io/ws", "http"],
  ["kubernetes.io/wss", "tcp"],
]);

/** The protocol of that name, whatever its case; undefined for any other text. */
export function parseProtocol(text: string): Protocol | undefined {
  return PROTOCOLS.get(text.toLowerCase());
}

/** What `appProtocol`, or else the name (`PROTOCOL` or `PROTOCOL-anything`), says of a port; undefined where it says nothing. */
function saidProtocol(name: string, appProtocol: string | undefined): Protocol | undefined {
  const text = (appProtocol ?? name).toLowerCase();
  const known = APP_PROTOCOLS.get(text) ?? parseProtocol(text);
  if (known !== undefined) return known;
  if (text.startsWith("grpc-web-")) return "http";
  return parseProtocol(text.split("-", 1)[0] ?? "");
}

/**
 * A port's protocol. Where nothing says one, Istio looks into the first bytes; here it is TCP: what a client sends first must
 * not choose the rules it is held to.
 */
export function protocolOfPort(name: string, appProtocol: string | undefined): Protocol {
  return saidProtocol(name, appProtocol) ?? "tcp";
}

/** Protocols whose clients wait for the server's greeting: Istio's name of one, and IANA's of others, which are TCP for the rest. */
const SERVER_FIRST: ReadonlySet<string> = new Set(["mysql", "smtp", "submission", "imap", "pop3", "ftp", "nats"]);

/** For a port whose protocol begins with the server, by `appProtocol`, or else the name (`PROTOCOL` or `PROTOCOL-anything`). */
export function serverFirst(name: string, appProtocol: string | undefined): { readonly serverFirst?: true } {
  const [protocol = ""] = (appProtocol ?? name).toLowerCase().split("-", 1);
  return SERVER_FIRST.has(protocol) ? { serverFirst: true } : {};
}

/** For a port of a service whose protocol nothing says. */
export function unsaid(name: string, appProtocol: string | undefined): { readonly unsaid?: true } {
  const said = saidProtocol(name, appProtocol) ?? serverFirst(name, appProtocol).serverFirst;
  return said === undefined ? { unsaid: true } : {};
}
