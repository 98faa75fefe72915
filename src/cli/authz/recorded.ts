/** A decision of the record, asked again of what is in force now, with what the record does not hold left open. */
import { type Answer, answerFacts } from "../../analyze/answer.ts";
import type { Entrance } from "../../analyze/entrance.ts";
import type { Question } from "../../analyze/explain.ts";
import type { WorkloadView } from "../../analyze/workload-view.ts";
import type { AuditRecord } from "../../audit/record.ts";
import type { WorkloadPolicy } from "../../compile/workload-policy.ts";
import type { AttributeKey } from "../../policy/attributes.ts";
import type { Facts } from "../../policy/decision.ts";
import { EXPLAINING } from "./engine.ts";

/** A text that is there and whole: the record cuts long ones, and marks them so. */
function isWhole(text: string): boolean {
  return text !== "" && !text.endsWith("…");
}

/** What the record tells of each attribute; one that is not here is unknown (headers, the server name of the handshake). */
const TELLS: Partial<Readonly<Record<AttributeKey, (record: AuditRecord, policy: WorkloadPolicy) => boolean>>> = {
  principal: () => true,
  namespace: () => true,
  serviceAccount: () => true,
  trustDomain: () => true,
  sourceIp: ({ sourceIp }) => isWhole(sourceIp),
  // Whom proxies in front have named stands in a header.
  remoteIp: ({ sourceIp, protocol }, { numTrustedProxies = 0 }) => isWhole(sourceIp) && (protocol === "tcp" || numTrustedProxies === 0),
  host: ({ host }) => isWhole(host),
  method: ({ method }) => isWhole(method),
  path: ({ path }) => isWhole(path),
  destinationPort: () => true,
  destinationIp: () => true,
};

function questionOf(record: AuditRecord, listener: Entrance, policy: WorkloadPolicy): Question {
  const { caller, sourceIp, protocol, method, path, host, port } = record;
  const facts: Facts = {
    peer: caller === "" ? undefined : caller,
    sourceIp,
    remoteIp: sourceIp,
    destinationIp: listener.bind,
    destinationPort: port,
    sni: "",
    http: protocol === "http" ? { method, path, host, headers: new Map() } : undefined,
  };
  return { facts, knows: ({ attribute }) => TELLS[attribute]?.(record, policy) === true };
}

/** Where the record came in. Which server of a gateway took it is not recorded, and no rule asks for it. */
function recordedAt({ inbound, gateway }: WorkloadPolicy, { port }: AuditRecord): Entrance | undefined {
  const own = inbound.find((listener) => listener.port === port);
  if (own !== undefined) return own;
  const found = gateway?.listeners.find((listener) => listener.port === port);
  return found && { name: found.name, bind: found.bind, port, protocol: "http", isGateway: true };
}

/** What the rules in force now say; undefined where the workload has no such listener any more, or no rule was asked. */
export function answerNow(view: WorkloadView, record: AuditRecord): Answer | undefined {
  if (record.effect === "refused" || record.effect === "lost") return undefined;
  const listener = recordedAt(view.policy, record);
  if (listener === undefined || (listener.protocol === "tcp") !== (record.protocol === "tcp")) return undefined;
  return answerFacts(EXPLAINING.ask, view, listener, questionOf(record, listener, view.policy));
}
