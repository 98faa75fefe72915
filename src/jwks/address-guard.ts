/**
 * Which addresses keys may be fetched from. Whoever writes a RequestAuthentication chooses a URL that the control plane
 * then asks: without this, they could read what only the control plane reaches (CVE-2026-41413).
 */
import { AppError } from "../core/error.ts";
import { blockContains, type IpBlock, parseIpAddress, parseIpBlock } from "../policy/ip-block.ts";

/** Not on the public internet, or not one host there (IANA special-purpose registries, RFC 6890). Clouds serve credentials at some of them. */
const REFUSED = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
  "2001::/23",
  "2001:db8::/32",
  "2002::/16",
  "3fff::/20",
].map(parseIpBlock);

/** IPv6 outside of it is loopback, link-local, private, multicast, or a disguise of IPv4. */
const GLOBAL_IPV6 = parseIpBlock("2000::/3");

/** How an address may be used: not at all, by HTTPS as any, or also by HTTP since the operator named it. */
export type Permission = "refused" | "https" | "any";

export class AddressGuard {
  readonly #allowed: readonly IpBlock[];

  /** `allowed`: what the operator permits on top of the public internet. */
  constructor(allowed: readonly IpBlock[]) {
    this.#allowed = allowed;
  }

  permissionOf(text: string): Permission {
    const address = parseIpAddress(text);
    if (address === undefined) return "refused";
    if (this.#allowed.some((block) => blockContains(block, address))) return "any";
    if (address.family === 6 && !blockContains(GLOBAL_IPV6, address)) return "refused";
    return REFUSED.some((block) => blockContains(block, address)) ? "refused" : "https";
  }

  /** Throws `permission-denied` for an address that may not be asked by this protocol. */
  check(address: string, protocol: string): void {
    const permission = this.permissionOf(address);
    if (permission === "any" || (permission === "https" && protocol === "https:")) return;
    const why = permission === "refused" ? "is not on the public internet" : "may be asked by HTTPS only";
    throw new AppError("permission-denied", `the address \`${address}\` ${why}`, {
      help: "if that is on purpose, start `garrison serve` with `--jwks-allow ADDRESS/PREFIX`",
    });
  }
}
