/** The client certificate of a call's connection. */
import type { PeerCertificate } from "node:tls";
import type { ServerUnaryCall } from "@grpc/grpc-js";

type Call = Pick<ServerUnaryCall<unknown, unknown>, "getAuthContext">;

const known = new WeakMap<Call, PeerCertificate | undefined>();

/** The certificate that the handshake has verified; undefined without one. Node makes it anew with all its fields whenever it is asked: here once for a call. */
export function peerCertificateOf(call: Call): PeerCertificate | undefined {
  if (known.has(call)) return known.get(call);
  const certificate = call.getAuthContext()?.sslPeerCertificate;
  known.set(call, certificate);
  return certificate;
}
