/** Istio `security.v1.AuthorizationPolicy`. */
import type { AuthorizationPolicyObject, ObjectMeta, PolicyAction, Rule, Selector, TargetRef } from "../model.ts";
import { checkCustomRules, readProvider } from "./custom-policy.ts";
import { NO_LABELS } from "./labels.ts";
import { LIMITS } from "./limits.ts";
import { DRY_RUN, parseDryRun } from "./metadata.ts";
import { childOf, type RawNode, textOf } from "./raw-node.ts";
import { type Cursor, type Fields, list, partialRecord, wrong } from "./reader.ts";
import { oneOf } from "./refine.ts";
import { ruleDecoder } from "./rule.ts";
import { readAttachment } from "./target-ref.ts";

interface Spec {
  readonly selector: Selector;
  readonly targetRefs?: readonly TargetRef[];
  readonly action: PolicyAction;
  readonly provider?: string;
  readonly rules: readonly Rule[] | "invalid";
}

const UNSUPPORTED = {};

const action = oneOf(["ALLOW", "DENY", "AUDIT", "CUSTOM"]);

/** An action that cannot be read is taken as DENY: with invalid rules, that denies everything in scope. */
function readAction(fields: Fields): PolicyAction {
  return fields.optional("action", action) ?? (fields.has("action") ? "DENY" : "ALLOW");
}

function readRules(fields: Fields, namespace: string): readonly Rule[] | "invalid" {
  const rules = fields.optional("rules", list(ruleDecoder(namespace), { max: LIMITS.rules }));
  return rules ?? (fields.has("rules") ? "invalid" : []);
}

const WITHOUT_RULES = {
  DENY: ["and so would deny nothing", "add rules; `rules: [{}]` denies everything"],
  CUSTOM: ["and so would ask of nothing", "add rules; `rules: [{}]` asks of everything"],
} as const;

/** VA-3. */
function checkHasRules(fields: Fields, rules: readonly Rule[] | "invalid"): void {
  const written = textOf(childOf(fields.cursor.node, "action"));
  if ((written !== "DENY" && written !== "CUSTOM") || rules === "invalid" || rules.length > 0) return;
  const [consequence, help] = WITHOUT_RULES[written];
  wrong(fields.cursor, "GAR0005", `has action ${written} and no \`rules\`, ${consequence}`, help);
}

function readSpec(fields: Fields, namespace: string): Spec {
  const rules = readRules(fields, namespace);
  const decided = readAction(fields);
  checkHasRules(fields, rules);
  const provider = readProvider(fields);
  if (decided === "CUSTOM" && rules !== "invalid") checkCustomRules(fields.cursor, rules);
  fields.refuse(UNSUPPORTED);
  const named = decided === "CUSTOM" && provider !== undefined ? { provider } : {};
  return { ...readAttachment(fields), action: decided, ...named, rules };
}

/** Of AZ-14 and VA-3. */
const TRIED: ReadonlySet<PolicyAction> = new Set(["ALLOW", "DENY"]);

/** As far as it can be told: a boolean or a number is what was meant by a text without its quotes. */
function isPlainlyFalse(node: RawNode): boolean {
  return node.kind === "scalar" && parseDryRun(String(node.value)) === false;
}

/** The annotation, where it asks for a dry run, or may: what was meant to be tried is never enforced by a slip of its writing. */
function dryRunAsked({ cursor }: Fields): Cursor | undefined {
  const node = childOf(childOf(childOf(cursor.node, "metadata"), "annotations"), DRY_RUN);
  if (node === undefined || isPlainlyFalse(node)) return undefined;
  return { ...cursor, node, path: `metadata.annotations[${JSON.stringify(DRY_RUN)}]` };
}

const EMPTY: Spec = { selector: NO_LABELS, action: "ALLOW", rules: [] };
const UNREADABLE: Spec = { selector: NO_LABELS, action: "DENY", rules: "invalid" };

/**
 * The policy, as far as it can be read. Undefined only for a dry run of an action that cannot be tried: it is refused, and
 * enforcing its closed form would be what its author ruled out.
 */
export function decodeAuthorizationPolicy(root: Fields, meta: ObjectMeta): AuthorizationPolicyObject | undefined {
  const read = root.optional(
    "spec",
    partialRecord((fields) => readSpec(fields, meta.namespace)),
  );
  const spec = read ?? (root.has("spec") ? UNREADABLE : EMPTY);
  const policy: AuthorizationPolicyObject = { kind: "AuthorizationPolicy", meta, ...spec };
  const asked = dryRunAsked(root);
  if (asked === undefined) return policy;
  if (TRIED.has(spec.action)) return { ...policy, dryRun: true };
  return wrong(asked, "GAR0004", `is not supported for action ${spec.action}`, "remove it: only ALLOW and DENY policies can be tried");
}
