/**
 * What Node's `server.listen` is to take for a host. `::` is every address of the machine, those of IPv4 too, and of IPv4 alone where
 * there is no IPv6: Node does that only where no host is said.
 */
export function listenHost(host: string): string | undefined {
  return host === "::" ? undefined : host;
}
