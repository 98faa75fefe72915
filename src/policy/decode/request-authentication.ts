/** Istio `security.v1.RequestAuthentication`. */
import type { JwtRule, ObjectMeta, RequestAuthenticationObject, Selector } from "../model.ts";
import { jwtRule } from "./jwt-rule.ts";
import { NO_LABELS, selectorOrAll } from "./labels.ts";
import { LIMITS } from "./limits.ts";
import { type Fields, list, partialRecord } from "./reader.ts";

interface Spec {
  readonly selector: Selector;
  readonly jwtRules: readonly JwtRule[] | "invalid";
}

const WAYPOINT = "select workloads by `selector`: waypoints and gateways are not supported";
const EMPTY: Spec = { selector: NO_LABELS, jwtRules: [] };
const UNREADABLE: Spec = { selector: NO_LABELS, jwtRules: "invalid" };

function readSpec(fields: Fields): Spec {
  fields.refuse({ targetRef: WAYPOINT, targetRefs: WAYPOINT });
  const rules = fields.optional("jwtRules", list(jwtRule, { max: LIMITS.jwtRules }));
  return { selector: selectorOrAll(fields), jwtRules: rules ?? (fields.has("jwtRules") ? "invalid" : []) };
}

/** The policy, as far as it can be read. */
export function decodeRequestAuthentication(root: Fields, meta: ObjectMeta): RequestAuthenticationObject {
  const spec = root.optional("spec", partialRecord(readSpec));
  return { kind: "RequestAuthentication", meta, ...(spec ?? (root.has("spec") ? UNREADABLE : EMPTY)) };
}
