/** Istio `security.v1.RequestAuthentication`. */
import type { JwtRule, ObjectMeta, RequestAuthenticationObject, Selector, TargetRef } from "../model.ts";
import { jwtRule } from "./jwt-rule.ts";
import { NO_LABELS } from "./labels.ts";
import { LIMITS } from "./limits.ts";
import { type Fields, list, partialRecord } from "./reader.ts";
import { readAttachment } from "./target-ref.ts";

interface Spec {
  readonly selector: Selector;
  readonly targetRefs?: readonly TargetRef[];
  readonly jwtRules: readonly JwtRule[] | "invalid";
}

const EMPTY: Spec = { selector: NO_LABELS, jwtRules: [] };
const UNREADABLE: Spec = { selector: NO_LABELS, jwtRules: "invalid" };

function readSpec(fields: Fields): Spec {
  const rules = fields.optional("jwtRules", list(jwtRule, { max: LIMITS.jwtRules }));
  return { ...readAttachment(fields), jwtRules: rules ?? (fields.has("jwtRules") ? "invalid" : []) };
}

/** The policy, as far as it can be read. */
export function decodeRequestAuthentication(root: Fields, meta: ObjectMeta): RequestAuthenticationObject {
  const spec = root.optional("spec", partialRecord(readSpec));
  return { kind: "RequestAuthentication", meta, ...(spec ?? (root.has("spec") ? UNREADABLE : EMPTY)) };
}
