/** `targetRef` and `targetRefs` of a policy (Istio `type.v1beta1.PolicyTargetReference`, VA-1). */
import type { Selector, TargetRef } from "../model.ts";
import { dnsSubdomain } from "./kubernetes-name.ts";
import { NO_LABELS, selectorOrAll } from "./labels.ts";
import { LIMITS } from "./limits.ts";
import { type Decoder, type Fields, list, record, stringUpTo, wrong } from "./reader.ts";
import { quote } from "./report.ts";

/** Where each kind is from; Kubernetes' own group is empty, or `core`. */
const GROUPS: Readonly<Record<TargetRef["kind"], readonly string[]>> = {
  Gateway: ["gateway.networking.k8s.io"],
  GatewayClass: ["gateway.networking.k8s.io"],
  Service: ["", "core"],
  ServiceEntry: ["networking.istio.io"],
};

function isKind(text: string): text is TargetRef["kind"] {
  return Object.hasOwn(GROUPS, text);
}

const group = stringUpTo(LIMITS.text);

const targetRef: Decoder<TargetRef> = record((fields) => {
  const kind = fields.required("kind", group);
  const named = fields.optional("group", group) ?? "";
  const name = fields.required("name", dnsSubdomain);
  fields.refuse({ namespace: "a policy is for something of its own namespace: remove the field" });
  if (kind === undefined || name === undefined) return undefined;
  if (isKind(kind) && GROUPS[kind].includes(named)) return { kind, name };
  const help = "use Gateway of the group gateway.networking.k8s.io; Service, ServiceEntry and GatewayClass are for waypoints";
  return wrong(fields.cursor, "GAR0007", `is not something that a policy can be for: ${quote(`${named}/${kind}`)}`, help);
});

const targetRefs = list(targetRef, { min: 1, max: LIMITS.targetRefs });

interface Attachment {
  readonly selector: Selector;
  readonly targetRefs?: readonly TargetRef[];
}

/** Where a policy holds. What cannot be read leaves everything in scope: nothing tells what it would have left out. */
export function readAttachment(fields: Fields): Attachment {
  const selector = selectorOrAll(fields);
  const one = fields.optional("targetRef", targetRef);
  const many = fields.optional("targetRefs", targetRefs);
  const named = ["selector", "targetRef", "targetRefs"].filter((name) => fields.has(name));
  if (named.length > 1) {
    wrong(fields.cursor, "GAR0007", `has ${named.join(" and ")}`, "say in one of them where the policy holds");
    return { selector: NO_LABELS };
  }
  const targets = many ?? (one === undefined ? undefined : [one]);
  return targets === undefined ? { selector } : { selector, targetRefs: targets };
}
