/**
 * A gateway as it is proved: at an address of its own, by a certificate made for the proof, and with every route that leads to a
 * service led to the application. What servers ask of outsiders' certificates is left out: an outsider of a question has met it.
 */
import type { GatewayListener, ServerPolicy } from "../compile/gateway-policy.ts";
import type { GatewayPolicy, UpstreamService } from "../compile/workload-policy.ts";
import { SecretText } from "../core/secret-text.ts";
import { SecretSchema } from "../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import { typeUrl } from "../render/envoy/any.ts";
import { envoySecret } from "../render/envoy/secrets.ts";
import type { TlsMaterial } from "../rpc/credentials.ts";

const CERTIFICATE = "proof/certificate";
const HOST = "application.proof";
const PORT = 80;

export const SECRET_TYPE = typeUrl(SecretSchema);

/** The certificate of every server, under the name that placed gateways ask for. */
export function proofSecret({ key, chain }: TlsMaterial) {
  return envoySecret({ kind: "certificate", name: CERTIFICATE, chain, key: new SecretText(key) });
}

function application(port: number): UpstreamService {
  const endpoints = [{ address: "127.0.0.1", port, mtls: false }] as const;
  return { service: "proof/application", host: HOST, port: PORT, protocol: "http", sni: HOST, endpoints };
}

function placedServer(server: ServerPolicy): ServerPolicy {
  const { security } = server;
  const service = `${HOST}:${PORT}`;
  return {
    ...server,
    security: security.kind === "outside" ? { ...security, certificate: CERTIFICATE, clients: undefined } : security,
    hosts: server.hosts.map(({ host, routes }) => ({
      host,
      routes: routes.map(({ match, action }) => ({ match, action: action.kind === "forward" ? { ...action, service } : action })),
    })),
  };
}

/** The gateway with each listener where `place` puts it, before an application on `port` of loopback. */
export function placedGateway(
  { listeners }: GatewayPolicy,
  port: number,
  place: (listener: GatewayListener) => Pick<GatewayListener, "name" | "bind">,
): GatewayPolicy {
  const placed = listeners.map((listener) => ({ ...listener, ...place(listener), servers: listener.servers.map(placedServer) }));
  return { listeners: placed, services: [application(port)] };
}

/** Whether any server asks for the certificate. */
export function needsCertificate(gateway: GatewayPolicy | undefined): boolean {
  return gateway?.listeners.some(({ servers }) => servers.some(({ security }) => security.kind === "outside")) === true;
}
