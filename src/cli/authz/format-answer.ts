/** An answer as people read it: the peer, the listener, each layer in order, and what was decided. */
import type { Answer, LayerAnswer, ListenerAnswer, RuleAnswer, TokenAnswer } from "../../analyze/answer.ts";
import type { PolicyInForce } from "../../analyze/workload-view.ts";
import type { Place } from "../../core/diagnostic.ts";
import { printable } from "../../policy/decode/report.ts";
import { columns } from "../command.ts";

/** Rules that are shown of one layer. */
const MAX_RULES = 12;

/** `file:line`; an object of an API server has no lines. */
export function formatPlace({ file, line }: Place): string {
  return line === 0 ? printable(file) : `${printable(file)}:${line}`;
}

/** `PeerAuthentication NAMESPACE/NAME (file:line)`, or that there is none. */
export function formatMtlsBy(policy: PolicyInForce | undefined): string {
  if (policy === undefined) return "no PeerAuthentication says otherwise";
  return `by PeerAuthentication ${policy.name} (${formatPlace(policy.place)})${policy.closed ? ", which is invalid, and so STRICT" : ""}`;
}

/** Whose TLS a server of a gateway speaks. */
export const SERVER_TLS = {
  plaintext: "plaintext",
  mesh: "mutual TLS of the mesh",
  outside: "TLS for outsiders",
} as const satisfies Record<NonNullable<ListenerAnswer["server"]>["security"], string>;

export function formatAddress({ bind, port }: Pick<ListenerAnswer, "bind" | "port">): string {
  return `${bind.includes(":") ? `[${bind}]` : bind}:${port}`;
}

function formatListener(listener: ListenerAnswer): string {
  const { name, protocol, mtls, mtlsBy, server } = listener;
  const at = `${name} on ${formatAddress(listener)}, ${protocol}`;
  if (server !== undefined) return `${at}, server ${printable(server.name)}: ${SERVER_TLS[server.security]}`;
  return mtls === undefined ? `${at}, no server of the gateway` : `${at}, mutual TLS ${mtls} ${formatMtlsBy(mtlsBy)}`;
}

/** What matches first, then by how little each rule misses; the order of evaluation otherwise. */
function byNearness(left: RuleAnswer, right: RuleAnswer): number {
  const rank = ({ result, nearest, reasons }: RuleAnswer): number =>
    result === "match" ? -2 : result === "unknown" ? -1 : nearest ? 0 : reasons.length;
  return rank(left) - rank(right);
}

const RESULTS = { match: "matches", miss: "does not match", unknown: "may match" } as const;

function formatRule({ rule, place, result, reasons, nearest }: RuleAnswer): string {
  const [first, ...more] = reasons;
  const others = more.length === 0 ? "" : ` (and ${more.length} more)`;
  const why = first === undefined ? "" : `: ${first}${others}`;
  const where = place === undefined ? "" : ` (${formatPlace(place)})`;
  return `    ${nearest ? "nearest: " : ""}${rule}${where} ${RESULTS[result]}${why}`;
}

function formatLayer({ action, asked, rules }: LayerAnswer, decider: string): readonly string[] {
  if (!asked) return [`  ${action.padEnd(5)} not asked: a ${decider} rule has decided`];
  if (rules.length === 0) return [`  ${action.padEnd(5)} no rule`];
  const sorted = [...rules].sort(byNearness);
  const left = sorted.length - MAX_RULES;
  return [
    `  ${action.padEnd(5)} ${rules.length === 1 ? "1 rule" : `${rules.length} rules`}`,
    ...sorted.slice(0, MAX_RULES).map(formatRule),
    ...(left > 0 ? [`    and ${left} that miss by no less; --json has all`] : []),
  ];
}

function formatToken({ why, policy, problem }: TokenAnswer): string {
  const where = policy === undefined ? "" : ` (RequestAuthentication ${policy.name}, ${formatPlace(policy.place)})`;
  return `  token ${problem === undefined ? "taken" : "not taken"} ${why}${where}`;
}

/** Who asks, where and for what, in two columns. */
export function formatAsked({ workload, service, peer, sourceIp, requester, request, listener }: Omit<Answer, "layers">): string {
  const nobody =
    listener?.server?.security === "outside"
      ? "an outsider, without an identity of the mesh"
      : "without an identity (no client certificate)";
  const who = peer === "" ? nobody : `${printable(peer)}, proved by mutual TLS`;
  return columns([
    ["workload", workload],
    ...(service === undefined
      ? []
      : [["service", `${service.service}, whose port ${service.port} leads to port ${service.target}`] as const]),
    ["peer", sourceIp === "" ? who : `${who}, from ${printable(sourceIp)}`],
    ["listener", listener === undefined ? "none" : formatListener(listener)],
    ...(requester === undefined ? [] : [["requester", `${printable(requester)}, proved by a token`] as const]),
    ...(request === undefined ? [] : [["request", printable(`${request.method} ${request.path}, host ${request.host}`)] as const]),
  ]);
}

/** Each layer in the order of evaluation. */
export function formatLayers(layers: readonly LayerAnswer[]): string {
  const decider = layers.findLast(({ asked }) => asked)?.action ?? "DENY";
  return layers.flatMap((layer) => formatLayer(layer, decider)).join("\n");
}

/** `DENY by default: …`. */
export function formatVerdict({ effect, by, audit, why, status }: Pick<Answer, "effect" | "by" | "audit" | "why" | "status">): string {
  const noted = audit.length === 0 ? "" : `; AUDIT rules that match: ${audit.join(", ")}`;
  return `${effect.toUpperCase()}${status === undefined ? "" : ` with ${status}`}${by === "" ? "" : ` by ${by}`}: ${why}${noted}`;
}

/** What dry runs would make of it, with their rules; empty where there are none. */
export function formatDryRun({ dryRun }: Pick<Answer, "dryRun">): string {
  if (dryRun === undefined) return "";
  const { effect, by, why, layers } = dryRun;
  const origin = by === "" ? "" : ` by ${by}`;
  return `\nrules of dry runs, which are recorded and not enforced\n${formatLayers(layers)}\ndry run: ${effect.toUpperCase()}${origin}: ${why}`;
}

export function formatAnswer(answer: Answer): string {
  const layers = answer.layers.length === 0 ? "" : `${formatLayers(answer.layers)}\n`;
  const tokens = answer.tokens.map((token) => `${formatToken(token)}\n`).join("");
  const ignored = (answer.ignored ?? []).map((why) => `  token ignored ${why}\n`).join("");
  return `${formatAsked(answer)}\n${tokens}${ignored}${layers}${formatVerdict(answer)}${formatDryRun(answer)}\n`;
}
