/**
 * The rules that redirect a network namespace's TCP connections to its proxy, as Istio's do, for nftables. One text is one
 * transaction: all of it holds, or nothing has changed; and the same text again comes to the same rules.
 */
import { CAPTURE_INBOUND_PORT, CAPTURE_OUTBOUND_PORT } from "../render/envoy/names.ts";
import type { CaptureOptions } from "./options.ts";

/** The one table that holds everything of ours. */
const TABLE = "inet garrison";

const DNS = 53;

/** Makes the table where it is not there, so that deleting it is never an error. */
const REMOVE = [`table ${TABLE} {}`, `delete table ${TABLE}`];

function portSet(ports: readonly number[]): string {
  return `{ ${[...ports].sort((left, right) => left - right).join(", ")} }`;
}

function redirect(port: number): string {
  return `redirect to :${port}`;
}

/** A CIDR block as the destination that it is of its family. */
function towards(range: string): string {
  return `${range.includes(":") ? "ip6" : "ip"} daddr ${range}`;
}

/** What leaves: every rule ends the way through the chain for what it matches, so their order is their meaning. */
function outputRules(options: CaptureOptions): readonly string[] {
  const { proxyUid, includeOutboundIPRanges, excludeOutboundIPRanges } = options;
  const { includeOutboundPorts, excludeOutboundPorts, dnsPort } = options;
  const proxy = `meta skuid ${proxyUid}`;
  const output = redirect(CAPTURE_OUTBOUND_PORT);
  return [
    ...(dnsPort === undefined ? [] : [`${proxy} th dport ${DNS} return`, `meta l4proto { tcp, udp } th dport ${DNS} ${redirect(dnsPort)}`]),
    "meta l4proto != tcp return",
    // The proxy's connections to its own application.
    'oifname "lo" ip saddr 127.0.0.6 return',
    'oifname "lo" ip6 saddr ::6 return',
    // The application called itself by a service's address: the proxy's call comes in like any other.
    `oifname "lo" meta l4proto tcp ${proxy} ip daddr != 127.0.0.0/8 ${redirect(CAPTURE_INBOUND_PORT)}`,
    `oifname "lo" meta l4proto tcp ${proxy} ip6 daddr != ::1 ${redirect(CAPTURE_INBOUND_PORT)}`,
    // Processes of one pod among themselves.
    'oifname "lo" return',
    `${proxy} return`,
    "ip daddr 127.0.0.0/8 return",
    "ip6 daddr ::1 return",
    ...(excludeOutboundPorts.length === 0 ? [] : [`tcp dport ${portSet(excludeOutboundPorts)} return`]),
    ...excludeOutboundIPRanges.map((range) => `${towards(range)} return`),
    ...(includeOutboundPorts.length === 0 ? [] : [`tcp dport ${portSet(includeOutboundPorts)} ${output}`]),
    ...(includeOutboundIPRanges === "*"
      ? [`meta l4proto tcp ${output}`]
      : includeOutboundIPRanges.map((range) => `${towards(range)} meta l4proto tcp ${output}`)),
  ];
}

function preroutingRules({ includeInboundPorts, excludeInboundPorts }: CaptureOptions): readonly string[] {
  const input = redirect(CAPTURE_INBOUND_PORT);
  if (includeInboundPorts !== "*") return includeInboundPorts.length === 0 ? [] : [`tcp dport ${portSet(includeInboundPorts)} ${input}`];
  return [...(excludeInboundPorts.length === 0 ? [] : [`tcp dport ${portSet(excludeInboundPorts)} return`]), `meta l4proto tcp ${input}`];
}

function chain(name: string, hook: string, rules: readonly string[]): readonly string[] {
  const head = `    type nat hook ${hook} priority -100; policy accept;`;
  return [`  chain ${name} {`, head, ...rules.map((rule) => `    ${rule}`), "  }"];
}

/** The text for `nft -f -` that puts the rules in the place of whatever was there. */
export function captureRules(options: CaptureOptions): string {
  const table = [
    `table ${TABLE} {`,
    ...chain("output", "output", outputRules(options)),
    ...chain("prerouting", "prerouting", preroutingRules(options)),
    "}",
  ];
  return `${[...REMOVE, ...table].join("\n")}\n`;
}

/** The text that removes them; where there are none it changes nothing. */
export const REMOVE_RULES = `${REMOVE.join("\n")}\n`;
