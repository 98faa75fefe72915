/** What an entry of Envoy's access logs says was decided, and by which rule. */
import { OWN_TLS_PASSED } from "../compile/mesh-alpn.ts";
import { type AccessLogCommon, ResponseFlags_Unauthorized_Reason } from "../gen/envoy/data/accesslog/v3/accesslog_pb.js";
import { type Because, formatBecause } from "../policy/decision.ts";
import { asIfEnforced, DRY_RUN_PREFIX } from "../policy/dry-run.ts";
import {
  formatEnvoyPolicyId,
  formatOrigin,
  parseEnvoyCustomId,
  parseEnvoyPolicyId,
  parseOrigin,
  REVOKED,
  TWO_NAMES,
} from "../policy/origin.ts";
import { type EntrySource, metadataText, OWN_TLS } from "./als-fields.ts";
import type { DecisionEffect, DryRunRecord } from "./record.ts";

const DENIED = /^rbac_access_denied_matched_policy\[(.*)\]$/s;

/** The token filter says why in words, its blanks as underscores. */
const TOKEN_REFUSED = /^jwt_authn_access_denied\{(.*)\}$/;

/** An authorizer's denial, or that it could not be asked. */
const NOT_ALLOWED = /^ext_authz_(denied|error|invalid)/;

/** Which CUSTOM rule matched: of requests under the one key, of connections under that of their authorizer's place. */
const CUSTOM_MARK = /^istio_ext_authz_(?:\d+_)?shadow_effective_policy_id$/;

export const HTTP_RBAC = "envoy.filters.http.rbac";

export const TCP_RBAC = "envoy.filters.network.rbac";

/** What a gateway answers itself to a request that it may take. */
const OWN_ANSWERS: ReadonlySet<string> = new Set(["route_not_found", "direct_response"]);

interface Verdict {
  readonly effect: DecisionEffect;
  readonly origin: string;
  readonly detail: string;
}

/** `NAMESPACE/POLICY[RULE]` of an Envoy policy id; any other id as it is, so that nothing is lost. */
function originOf(policyId: string): string {
  const origin = parseEnvoyPolicyId(policyId);
  return origin === undefined ? policyId : formatOrigin(origin);
}

export function auditOf(common: AccessLogCommon, filter: string): readonly string[] {
  const id = metadataText(common, filter, "audit_shadow_effective_policy_id");
  return id === "" ? [] : [originOf(id)];
}

/** The verdict that a denial's text holds; undefined for any other text. */
function denial(details: string): Verdict | undefined {
  const [, id] = DENIED.exec(details) ?? [];
  if (id === formatEnvoyPolicyId(TWO_NAMES))
    return { effect: "refused", origin: "", detail: "the certificate does not have exactly one URI name" };
  return id === undefined ? undefined : { effect: "deny", origin: id === "none" ? "default" : originOf(id), detail: "" };
}

/** The last mark is of the rule that was asked last, and so of the one that was refused. */
function refusedCustom(common: AccessLogCommon, filter: string, how: string): Verdict {
  const marks = Object.entries(common.metadata?.filterMetadata[filter] ?? {}).filter(([key]) => CUSTOM_MARK.test(key));
  const [, id] = marks.sort(([left], [right]) => (left < right ? -1 : 1)).at(-1) ?? [];
  const custom = typeof id === "string" ? parseEnvoyCustomId(id) : undefined;
  const provider = custom === undefined ? "an authorizer" : `provider ${custom.provider}`;
  return { effect: "deny", origin: custom === undefined ? "" : formatOrigin(custom.origin), detail: `${provider} ${how}` };
}

/** The verdict of an authorizer on a request; undefined where another one decided. */
function httpRefusal(common: AccessLogCommon, details: string): Verdict | undefined {
  const [, how] = NOT_ALLOWED.exec(details) ?? [];
  if (how === undefined) return undefined;
  return refusedCustom(common, HTTP_RBAC, how === "denied" ? "denies" : "could not be asked");
}

/** The same of a connection, of which Envoy does not tell one from the other. */
function tcpRefusal(common: AccessLogCommon): Verdict | undefined {
  const { reason } = common.responseFlags?.unauthorizedDetails ?? {};
  if (reason !== ResponseFlags_Unauthorized_Reason.EXTERNAL_SERVICE) return undefined;
  return refusedCustom(common, TCP_RBAC, "denies, or could not be asked");
}

export function httpVerdict(common: AccessLogCommon, details: string): Verdict {
  const denied = denial(details) ?? httpRefusal(common, details);
  if (denied !== undefined) return denied;
  const [, token] = TOKEN_REFUSED.exec(details) ?? [];
  if (token !== undefined) return { effect: "refused", origin: "", detail: token.replaceAll("_", " ") };
  const detail = details === "via_upstream" ? "" : details;
  if (common.responseFlags?.noFilterConfigFound === true) return { effect: "refused", origin: "", detail: "the proxy has no policy yet" };
  const rule = metadataText(common, HTTP_RBAC, "enforced_effective_policy_id");
  if (rule !== "") return { effect: "allow", origin: originOf(rule), detail };
  if (OWN_ANSWERS.has(details)) return { effect: "allow", origin: "no-policy", detail };
  // Only what every filter has let pass has a cluster, or one of the gateway's own answers; without one the request ended before it was decided (malformed, aborted).
  if (common.upstreamCluster === "")
    return { effect: "refused", origin: "", detail: detail === "" ? "the request ended before it was decided" : detail };
  return { effect: "allow", origin: "no-policy", detail };
}

/** The rule that let a TCP connection pass: the network filter tells it as a shadow rule's. */
export function tcpVerdict(common: AccessLogCommon, { log }: EntrySource): Verdict {
  const denied = denial(common.connectionTerminationDetails) ?? tcpRefusal(common);
  if (denied !== undefined) return denied;
  const rule = metadataText(common, TCP_RBAC, "allow_shadow_effective_policy_id");
  const own = log.endsWith(OWN_TLS) ? OWN_TLS_PASSED : "";
  return { effect: "allow", origin: rule === "" ? "no-policy" : originOf(rule), detail: common.upstreamTransportFailureReason || own };
}

/** Why, of the text of an origin. */
function becauseOf(effect: "allow" | "deny", text: string): Because {
  const origin = parseOrigin(text);
  if (origin === undefined) return { kind: effect === "deny" ? "default" : "no-policy" };
  return { kind: "rule", action: effect === "deny" ? "DENY" : "ALLOW", origin };
}

/** What dry runs would make of a verdict; the keys are there only where they were asked, and so a DENY or ALLOW rule decided. */
export function dryRunOf(common: AccessLogCommon, filter: string, { effect, origin }: Verdict): DryRunRecord {
  const told = (list: keyof typeof DRY_RUN_PREFIX, key: string) => metadataText(common, filter, `${DRY_RUN_PREFIX[list]}shadow_${key}`);
  if (effect === "refused" || origin === formatOrigin(REVOKED) || told("deny", "engine_result") === "") return {};
  const matched = (list: keyof typeof DRY_RUN_PREFIX) => parseEnvoyPolicyId(told(list, "effective_policy_id"));
  const allow = told("allow", "engine_result") === "" ? undefined : (matched("allow") ?? "none");
  const verdict = asIfEnforced({ effect, because: becauseOf(effect, origin) }, { deny: matched("deny"), allow });
  return { dryRun: verdict.effect, dryRunOrigin: formatBecause(verdict.because) };
}
