/** Where a request comes in: a port of a workload, or a server of a gateway; and why it may not. */
import type { ClosedServer, ServerPolicy } from "../compile/gateway-policy.ts";
import { mostSpecific, serverFor } from "../compile/server-choice.ts";
import type { InboundListener, WorkloadPolicy } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import { quote } from "../policy/decode/report.ts";
import { parseIpAddress } from "../policy/ip-block.ts";
import type { TestRequest } from "./test-request.ts";

/** A listener as far as questions go. */
export interface Entrance extends Pick<InboundListener, "name" | "bind" | "port" | "protocol"> {
  /** Absent at a gateway. */
  readonly mtls?: InboundListener["mtls"];
  /** Of a gateway: the server that takes the connection; absent where none does. */
  readonly server?: ServerPolicy;
  /** Of a gateway. */
  readonly isGateway?: true;
  /** Of a gateway: the name that the client asks for in its handshake; empty without TLS. */
  readonly serverName?: string;
}

/** What a client of TLS asks for: the server name that is said, or else the host. */
function serverNameOf({ sni, host = "" }: TestRequest): string {
  return sni ?? host.toLowerCase().replace(/:\d+$/, "");
}

function usesTls({ from, outsider }: TestRequest): boolean {
  return from !== undefined || outsider === true;
}

function gatewayEntrances({ gateway }: WorkloadPolicy, request: TestRequest): readonly Entrance[] {
  return (gateway?.listeners ?? []).map((listener): Entrance => {
    const { name, bind, port, servers } = listener;
    const serverName = usesTls(request) ? serverNameOf(request) : "";
    const plain = servers.find(({ security }) => security.kind === "plaintext");
    const server = plain ?? serverFor(listener, serverName, request.from !== undefined);
    return { name, bind, port, protocol: "http", isGateway: true, serverName, ...(server === undefined ? {} : { server }) };
  });
}

/** What a client speaks at a listener: at a port of HTTP, proxies take HTTP/2 as well. */
export function spokenAt({ protocol }: Pick<Entrance, "protocol">, request: TestRequest): Entrance["protocol"] {
  return protocol === "http" && request.protocol === "http2" ? "http2" : protocol;
}

/** The listener that a request is for. Throws `invalid-argument` where it does not say which of several. */
export function entranceFor(policy: WorkloadPolicy, request: TestRequest): Entrance | undefined {
  const all: readonly Entrance[] = [...policy.inbound, ...gatewayEntrances(policy, request)];
  if (request.port !== undefined) return all.find(({ port }) => port === request.port);
  if (all.length <= 1) return all[0];
  throw new AppError("invalid-argument", `workload \`${policy.workload}\` listens on several ports`, {
    help: `say which with \`port\`: ${all.map(({ port }) => port).join(", ")}`,
  });
}

function refusedTrustDomain({ trustDomains }: WorkloadPolicy, from: string): string | undefined {
  const { trustDomain } = parseSpiffeId(from);
  return trustDomains.includes(trustDomain) ? undefined : `the trust domain \`${trustDomain}\` is not one of the mesh`;
}

/** The server that a client of TLS means, where it is one that waits for its Secret; `open`: the one that takes the connection instead. */
function closedServer(
  { gateway }: WorkloadPolicy,
  port: number | undefined,
  request: TestRequest,
  open?: ServerPolicy,
): ClosedServer | undefined {
  if (!usesTls(request)) return undefined;
  const waiting = (gateway?.closed ?? []).filter((each) => port === undefined || each.port === port);
  const named = (names: readonly string[]) => (names.length === 0 ? ["*"] : names);
  const pairs = [...(open === undefined ? [] : [open]), ...waiting].flatMap((each) =>
    named(each.serverNames).map((name) => [name, each] as const),
  );
  const meant = mostSpecific(new Map(pairs), serverNameOf(request));
  return waiting.find((each) => each === meant);
}

function waitsForSecret({ name, secret }: ClosedServer): string {
  return `server ${quote(name)} stays closed: there is no usable Secret ${quote(secret)} here`;
}

/** Throws `invalid-argument` for an identity where none can be proved. */
function refusedByGateway(policy: WorkloadPolicy, { server, serverName = "", port }: Entrance, request: TestRequest): string | undefined {
  const { from } = request;
  const closed = from === undefined ? closedServer(policy, port, request, server) : undefined;
  if (closed !== undefined) return waitsForSecret(closed);
  if (server?.security.kind === "plaintext") return usesTls(request) ? "TLS, where the server speaks plaintext" : undefined;
  if (!usesTls(request)) return "no TLS where TLS is required";
  if (server === undefined)
    return `no server has the name that the client asks for (${quote(serverName)}, by \`sni\`, or else by \`host\`)`;
  if (server.security.kind === "mesh") {
    if (from === undefined) return "no certificate of the mesh, where the server takes peers only";
    return refusedTrustDomain(policy, from);
  }
  if (from === undefined) return undefined;
  throw new AppError(
    "invalid-argument",
    `server \`${server.name}\` of \`${policy.workload}\` takes outsiders, who prove no identity of the mesh`,
    {
      help: "ask with `from: outsider`, and with tokens for who it is",
    },
  );
}

/** Who has an address of one family reaches none of the other; `::` is both. */
function refusedFamily({ bind }: Entrance, { sourceIp }: TestRequest): string | undefined {
  const [client, own] = [sourceIp, bind].map((address) => (address === undefined ? undefined : parseIpAddress(address)));
  if (client === undefined || own === undefined || client.family === own.family || bind === "::") return undefined;
  return `a client with the address ${sourceIp} does not reach ${bind}, which is of IPv${own.family}`;
}

/** Often a service's port is meant, which leads to another one of the workload. */
function notHeard({ inbound, gateway }: WorkloadPolicy, port: number | undefined): string {
  const ports = [...new Set([...inbound, ...(gateway?.listeners ?? [])].map((listener) => listener.port))];
  if (port === undefined || ports.length === 0) return "the workload listens on no port";
  return `the workload does not listen on port ${port}, but on ${ports.join(", ")}: ports are the workload's own`;
}

/** Why there is no connection, or undefined where there is one. */
export function refusalAt(policy: WorkloadPolicy, entrance: Entrance | undefined, request: TestRequest): string | undefined {
  const { from, port } = request;
  const closed = entrance === undefined ? closedServer(policy, port, request) : undefined;
  if (closed !== undefined) return waitsForSecret(closed);
  if (entrance === undefined) return notHeard(policy, port);
  const unreachable = refusedFamily(entrance, request);
  if (unreachable !== undefined) return unreachable;
  if (entrance.isGateway === true) return refusedByGateway(policy, entrance, request);
  if (request.outsider === true)
    throw new AppError("invalid-argument", `\`${policy.workload}\` is no gateway, and outsiders' TLS ends only there`, {
      help: "ask with `from: plaintext`, or with an identity",
    });
  if (from === undefined) return entrance.mtls === "STRICT" ? "plaintext, where the mode is STRICT" : undefined;
  if (entrance.mtls === "DISABLE") return "mutual TLS, where the mode is DISABLE";
  return refusedTrustDomain(policy, from);
}
