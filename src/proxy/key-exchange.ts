/** By which group the keys of a connection were exchanged, of which Node tells clients, and no servers. */
import type { TLSSocket } from "node:tls";
import { DerReader, TAG } from "../x509/der-reader.ts";

/** IANA's registry "TLS Supported Groups", by the names of Istio's `meshMTLS.ecdhCurves`, which are Envoy's. */
const GROUPS: ReadonlyMap<number, string> = new Map([
  [0x0017, "P-256"],
  [0x0018, "P-384"],
  [0x0019, "P-521"],
  [0x001d, "X25519"],
  [0x11ec, "X25519MLKEM768"],
]);

/** The field of OpenSSL's session (`SSL_SESSION_ASN1`, 3.0 and later) that has the group's number: [19] EXPLICIT. */
const KEX_GROUP = 0xb3;

/** The number of the group in a session as OpenSSL writes it, which is DER; undefined where it has none. Throws `invalid-argument` for other bytes. */
export function groupOfSession(session: Uint8Array): number | undefined {
  const fields = new DerReader(new Uint8Array(session.buffer, session.byteOffset, session.byteLength), "session").enter(TAG.sequence);
  while (!fields.done && fields.peek() !== KEX_GROUP) fields.skip();
  return fields.done
    ? undefined
    : fields
        .enter(KEX_GROUP)
        .content(TAG.integer)
        .reduce((value, byte) => value * 256 + byte, 0);
}

/** A group without a name is its number; empty where it is not known. */
export function keyExchangeGroup(socket: TLSSocket): string {
  const session = socket.getSession();
  if (session === undefined) return "";
  try {
    const group = groupOfSession(session);
    return group === undefined ? "" : (GROUPS.get(group) ?? `0x${group.toString(16).padStart(4, "0")}`);
  } catch {
    // The record lacks a word then; the connection is as good as before.
    return "";
  } finally {
    // It may hold the connection's master secret.
    session.fill(0);
  }
}
