/** Which server of a gateway's address takes a connection: by the name that the client asks for, as both proxies choose. */
import type { GatewayListener, ServerPolicy } from "./gateway-policy.ts";

/** The most specific of names and wildcards: the name itself, then the longest wildcard, then `*`. */
export function mostSpecific<T>(byPattern: ReadonlyMap<string, T>, name: string): T | undefined {
  const exact = byPattern.get(name);
  if (exact !== undefined) return exact;
  for (let dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1)) {
    const found = dot === 0 ? undefined : byPattern.get(`*${name.slice(dot)}`);
    if (found !== undefined) return found;
  }
  return byPattern.get("*");
}

/** The servers for outsiders by their names; one that takes what no other has stands under `*`. */
function outsideServers(servers: readonly ServerPolicy[]): ReadonlyMap<string, ServerPolicy> {
  const outside = servers.filter(({ security }) => security.kind === "outside");
  return new Map(outside.flatMap((server) => (server.serverNames.length === 0 ? ["*"] : server.serverNames).map((name) => [name, server])));
}

/** The server for a client of TLS; `ofMesh`: it offers the mesh's protocols, which counts where any name would do. */
export function serverFor({ servers }: GatewayListener, serverName: string, ofMesh: boolean): ServerPolicy | undefined {
  const mesh = servers.find(({ security }) => security.kind === "mesh");
  const named = mostSpecific(outsideServers(servers), serverName);
  if (mesh === undefined || (named !== undefined && named.serverNames.length > 0)) return named;
  return named === undefined || ofMesh ? mesh : named;
}
