/** Who the client of a request is, as far as the proxies in front are trusted to tell. */
import { parseIpAddress } from "./ip-block.ts";

/**
 * The client's address: with `trusted` proxies in front, the one so far from the end of X-Forwarded-For, whose last
 * element names the peer of the last of them. Where there is no such element, or it is no address, it is the connection's
 * own (Istio `numTrustedProxies`; Envoy `xff_num_trusted_hops` with `use_remote_address`). `lines` are the header's, in order.
 */
export function remoteAddress(sourceIp: string, lines: readonly string[], trusted: number): string {
  if (trusted === 0) return sourceIp;
  const elements = lines
    .filter((line) => line !== "")
    .join(",")
    .split(",");
  const element = elements.at(-trusted)?.replace(/^[ \t]+|[ \t]+$/g, "") ?? "";
  return parseIpAddress(element) === undefined ? sourceIp : element;
}
