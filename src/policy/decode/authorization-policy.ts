/** Istio `security.v1.AuthorizationPolicy`. */
import type { AuthorizationPolicyObject, ObjectMeta, PolicyAction, Rule, Selector, TargetRef } from "../model.ts";
import { NO_LABELS } from "./labels.ts";
import { LIMITS } from "./limits.ts";
import { DRY_RUN } from "./metadata.ts";
import { childOf, textOf } from "./raw-node.ts";
import { type Decoder, type Fields, list, partialRecord, wrong } from "./reader.ts";
import { oneOf } from "./refine.ts";
import { ruleDecoder } from "./rule.ts";
import { readAttachment } from "./target-ref.ts";

interface Spec {
  readonly selector: Selector;
  readonly targetRefs?: readonly TargetRef[];
  readonly action: PolicyAction;
  readonly rules: readonly Rule[] | "invalid";
}

const UNSUPPORTED = {
  provider: "external authorization (action CUSTOM) is not supported",
};

const CUSTOM_HELP = "use ALLOW, DENY or AUDIT: external authorization is not supported";

const readableAction = oneOf(["ALLOW", "DENY", "AUDIT"]);

const action: Decoder<PolicyAction> = (cursor) =>
  textOf(cursor.node) === "CUSTOM" ? wrong(cursor, "GAR0004", "is not supported: `CUSTOM`", CUSTOM_HELP) : readableAction(cursor);

/** An action that cannot be read is taken as DENY: with invalid rules, that denies everything in scope. */
function readAction(fields: Fields): PolicyAction {
  return fields.optional("action", action) ?? (fields.has("action") ? "DENY" : "ALLOW");
}

function readRules(fields: Fields, namespace: string): readonly Rule[] | "invalid" {
  const rules = fields.optional("rules", list(ruleDecoder(namespace), { max: LIMITS.rules }));
  return rules ?? (fields.has("rules") ? "invalid" : []);
}

/** VA-3. */
function checkDenyHasRules(fields: Fields, rules: readonly Rule[] | "invalid"): void {
  if (textOf(childOf(fields.cursor.node, "action")) !== "DENY" || rules === "invalid" || rules.length > 0) return;
  wrong(
    fields.cursor,
    "GAR0005",
    "has action DENY and no `rules`, and so would deny nothing",
    "add rules; `rules: [{}]` denies everything",
  );
}

function readSpec(fields: Fields, namespace: string): Spec {
  const rules = readRules(fields, namespace);
  checkDenyHasRules(fields, rules);
  fields.refuse(UNSUPPORTED);
  return { ...readAttachment(fields), action: readAction(fields), rules };
}

function asksForDryRun(root: Fields): boolean {
  return textOf(childOf(childOf(childOf(root.cursor.node, "metadata"), "annotations"), DRY_RUN)) === "true";
}

const EMPTY: Spec = { selector: NO_LABELS, action: "ALLOW", rules: [] };
const UNREADABLE: Spec = { selector: NO_LABELS, action: "DENY", rules: "invalid" };

/**
 * The policy, as far as it can be read. Undefined only for one that asks for a dry run: it is refused, and enforcing
 * its closed form would be what its author ruled out.
 */
export function decodeAuthorizationPolicy(root: Fields, meta: ObjectMeta): AuthorizationPolicyObject | undefined {
  const spec = root.optional(
    "spec",
    partialRecord((fields) => readSpec(fields, meta.namespace)),
  );
  if (asksForDryRun(root)) return undefined;
  return { kind: "AuthorizationPolicy", meta, ...(spec ?? (root.has("spec") ? UNREADABLE : EMPTY)) };
}
