/** What all requests of one connection have in common, and the facts that decisions are made on. */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Facts, HttpFacts } from "../policy/decision.ts";
import { remoteAddress } from "../policy/remote-address.ts";
import type { Requester } from "../policy/requester.ts";
import { valuesOf } from "./headers.ts";
import type { HeaderList, RequestHead } from "./message.ts";
import type { Peer } from "./peer-certificate.ts";
import { negotiatedTls } from "./tls.ts";

/** A connection that was accepted from a peer, identified if it came by mutual TLS. */
export interface PeerConnection {
  /** Undefined for plaintext. */
  readonly peer: Peer | undefined;
  readonly sourceIp: string;
  readonly sourcePort: number;
  readonly destinationIp: string;
  readonly destinationPort: number;
  readonly sni: string;
  /** What the handshake settled, for the record; empty for plaintext. */
  readonly tls: string;
  /** The certificate header that the application gets; undefined for plaintext. */
  readonly forwardedCertificate: string | undefined;
  /** What is passed on is TLS that is not the mesh's: nobody has read it. */
  readonly ownTls?: true;
  /** The name of the gateway's server that took it; absent at other ports. */
  readonly server?: string;
  /** No further request is taken. */
  draining: boolean;
  /** Why the proxy cut it while requests were under way, for their records; absent while it has not. */
  cut?: string;
}

/**
 * A connection that was accepted on `port` by the workload of this identity. Undefined: it is broken, and the kernel no
 * longer knows whose it was, while what the peer has sent can still be read. Rules on addresses would see none in it.
 */
export function describeConnection(
  socket: Socket | TLSSocket,
  { port, identity, peer }: { readonly port: number; readonly identity: string; readonly peer: Peer | undefined },
): PeerConnection | undefined {
  const { remoteAddress, remotePort, localAddress } = socket;
  if (remoteAddress === undefined || remotePort === undefined || localAddress === undefined) return undefined;
  return {
    peer,
    sourceIp: remoteAddress,
    sourcePort: remotePort,
    destinationIp: localAddress,
    destinationPort: port,
    sni: "servername" in socket && typeof socket.servername === "string" ? socket.servername : "",
    tls: negotiatedTls(socket),
    forwardedCertificate: peer === undefined ? undefined : forwardedCertificate(identity, peer),
    draining: false,
  };
}

/** Node has header bytes as characters; policies are written in UTF-8. */
function decodeValue(value: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: everything but ASCII
  return /^[\x00-\x7f]*$/.test(value) ? value : Buffer.from(value, "latin1").toString("utf8");
}

function indexHeaders(headers: HeaderList): Map<string, string[]> {
  const index = new Map<string, string[]>();
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] ?? "";
    const value = decodeValue(headers[at + 1] ?? "");
    const known = index.get(name);
    if (known === undefined) index.set(name, [value]);
    else known.push(value);
  }
  return index;
}

/** Indexes the header only for a policy that asks for one. */
class RequestFacts implements HttpFacts {
  readonly method: string;
  readonly path: string;
  readonly host: string;
  readonly #head: RequestHead;
  #headers: ReadonlyMap<string, readonly string[]> | undefined;

  constructor(head: RequestHead) {
    this.method = head.method;
    this.path = head.path.path;
    this.host = head.authority;
    this.#head = head;
  }

  /** With the names under which Envoy knows the request line and Host. */
  get headers(): ReadonlyMap<string, readonly string[]> {
    if (this.#headers === undefined) {
      const { method, authority, path, headers, bodyLength } = this.#head;
      const index = indexHeaders(headers);
      index
        .set(":method", [method])
        .set(":path", [path.path + path.query])
        .set(":authority", [authority])
        .set("host", [authority]);
      if (bodyLength !== undefined && bodyLength > 0) index.set("content-length", [String(bodyLength)]);
      this.#headers = index;
    }
    return this.#headers;
  }
}

/** The facts of a connection, or of a request on it that came by so many trusted proxies. */
export function factsOf(connection: PeerConnection, head: RequestHead | undefined, requester?: Requester, trustedProxies = 0): Facts {
  const { peer, sourceIp, destinationIp, destinationPort, sni } = connection;
  const forwarded = head === undefined || trustedProxies === 0 ? [] : valuesOf(head.headers, "x-forwarded-for");
  return {
    peer: peer?.identity,
    ...(peer === undefined ? {} : { peerCertificate: peer.digest }),
    sourceIp,
    remoteIp: remoteAddress(sourceIp, forwarded, trustedProxies),
    destinationIp,
    destinationPort,
    sni,
    http: head === undefined ? undefined : new RequestFacts(head),
    ...(requester === undefined ? {} : { requester }),
  };
}

/** `x-forwarded-client-cert` as Envoy's SANITIZE_SET writes it: only what this handshake has proved. */
function forwardedCertificate(own: string, peer: Peer): string {
  return `By=${own};Hash=${peer.digest};Subject="";URI=${peer.identity}`;
}
