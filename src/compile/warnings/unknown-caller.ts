/** Rules that ask who calls where nobody may have proved it: without mutual TLS, or without a RequestAuthentication. */
import type { Diagnostic } from "../../core/diagnostic.ts";
import { attributeRow } from "../../policy/attributes.ts";
import type { Clause, PolicyAction } from "../../policy/model.ts";
import type { CompiledRule, EffectiveMtls, InboundListener, ServerSide } from "../workload-policy.ts";
import { named, type PlacedRule } from "./placed-rule.ts";
import { atListener, clausesOf, type Known, listenersOf, type Outcome, onPort, outcomeOf, type RuleBody, reduceRule } from "./reach.ts";

/** What comes of a rule for callers whose identity is unknown. */
const FOR_UNKNOWN: Readonly<Record<PolicyAction, Readonly<Record<Outcome, string>>>> = {
  ALLOW: {
    never: "never allows them",
    always: "allows them, whoever they are",
    partly: "allows them where its other fields match, whoever they are",
  },
  DENY: { never: "does not deny them", always: "denies them all", partly: "denies them only where its other fields match" },
  CUSTOM: { never: "does not ask of them", always: "asks of them all", partly: "asks of them only where its other fields match" },
  AUDIT: { never: "does not note them", always: "notes them all", partly: "notes them only where its other fields match" },
};

function asksPeer({ attribute }: Clause): boolean {
  return attributeRow(attribute).needsMtls === true;
}

function asksToken({ attribute }: Clause): boolean {
  return attributeRow(attribute).needsToken === true;
}

/** Of a caller that has proved nothing: a clause on it never matches, a negated one always. */
function unproved(asks: (clause: Clause) => boolean): Known {
  return (clause) => (asks(clause) ? clause.negated : undefined);
}

const withoutPeer = unproved(asksPeer);

function outcomeInPlaintext({ condition }: CompiledRule, port: number): Outcome {
  if (condition.kind !== "when") return condition.kind;
  const here = onPort(condition, port);
  return outcomeOf(here && reduceRule(here, withoutPeer));
}

function isClosed({ http, tcp }: ServerSide, { port, protocol }: InboundListener): boolean {
  const { deny, allow } = protocol === "tcp" ? tcp : http;
  if (deny.some((rule) => outcomeInPlaintext(rule, port) === "always")) return true;
  return allow?.every((rule) => outcomeInPlaintext(rule, port) === "never") === true;
}

/** Kept, for every rule of a workload asks. */
const closed = new WeakMap<ServerSide, ReadonlySet<InboundListener>>();

/** Where callers without an identity are denied, whatever they ask. */
function closedToPlaintext(policy: ServerSide): ReadonlySet<InboundListener> {
  const found = closed.get(policy) ?? new Set(policy.inbound.filter((listener) => isClosed(policy, listener)));
  closed.set(policy, found);
  return found;
}

/** Whether a caller in plaintext fares better by the rule than one who shows who it is: it gets past a DENY, or in by an ALLOW. */
function favoursPlaintext(rule: RuleBody, action: PolicyAction): boolean {
  const outcome = outcomeOf(reduceRule(rule, withoutPeer));
  const elements = [...rule.from, ...rule.to, rule.when];
  const lost = (clauses: readonly Clause[]): boolean => clauses.some((clause) => withoutPeer(clause) === false);
  if (action !== "ALLOW") return outcome !== "always" && elements.some(lost);
  return outcome !== "never" && elements.some((clauses) => !lost(clauses) && clauses.some(asksPeer));
}

type UnprovedMode = Exclude<EffectiveMtls, "STRICT">;

const CALLERS: Readonly<Record<UnprovedMode, string>> = {
  PERMISSIVE: "callers in plaintext have no identity there, and it",
  DISABLE: "no caller has an identity there, and it",
};

const HELPS: Readonly<Record<UnprovedMode, string>> = {
  PERMISSIVE:
    'set the mode to STRICT by a PeerAuthentication; until then, deny plaintext with `notPrincipals: ["*"]` where it must not come',
  DISABLE: "set the mode to STRICT or PERMISSIVE by a PeerAuthentication: identities come by mutual TLS only",
};

/** The ports of a mode at which it matters that the rule asks for identities, with what comes of it. */
function unprovedPorts({ policy, rule, selected }: PlacedRule, mode: UnprovedMode) {
  return selected.flatMap((compiled) =>
    compiled.inbound.flatMap((listener) => {
      const here = listener.mtls === mode ? atListener(rule, policy.action, listener) : undefined;
      if (here === undefined || !clausesOf(here).some(asksPeer)) return [];
      if (mode === "PERMISSIVE" && (closedToPlaintext(compiled).has(listener) || !favoursPlaintext(here, policy.action))) return [];
      return [{ at: `${compiled.workload}:${listener.port}`, outcome: outcomeOf(reduceRule(here, withoutPeer)) }];
    }),
  );
}

/** One diagnostic for each effect. */
function byOutcome(
  found: readonly { readonly at: string; readonly outcome: Outcome }[],
  tell: (at: readonly string[], outcome: Outcome) => Diagnostic,
): readonly Diagnostic[] {
  return (["never", "always", "partly"] as const).flatMap((outcome) => {
    const at = found.filter((one) => one.outcome === outcome).map((one) => one.at);
    return at.length === 0 ? [] : [tell([...new Set(at)], outcome)];
  });
}

/** Identities of peers on ports that take plaintext, where that opens something: a rule that only closes more is not told of. */
export function identitiesWithoutMtls(placed: PlacedRule): readonly Diagnostic[] {
  const { policy, name, place } = placed;
  return (["PERMISSIVE", "DISABLE"] as const).flatMap((mode) =>
    byOutcome(unprovedPorts(placed, mode), (at, outcome) => ({
      code: "GAR0204",
      message: `${policy.action} rule ${name} asks for the peer's identity, and the mode is ${mode} at ${named(at)}: ${CALLERS[mode]} ${FOR_UNKNOWN[policy.action][outcome]}`,
      place,
      help: HELPS[mode],
    })),
  );
}

/** Requesters that no rule for tokens could ever prove; of HTTP alone, since on TCP such fields fall away (AZ-8). */
export function requestersWithoutTokens({ policy, rule, name, place, selected }: PlacedRule): readonly Diagnostic[] {
  const open = selected.filter(({ requestAuthentication }) => requestAuthentication === undefined);
  const found = open.flatMap((compiled) => {
    const listeners = listenersOf(compiled);
    const isMixed = listeners.some(({ protocol }) => protocol === "tcp");
    return listeners.flatMap((listener) => {
      const here = listener.protocol === "tcp" ? undefined : atListener(rule, policy.action, listener);
      if (here === undefined || !clausesOf(here).some(asksToken)) return [];
      const at = isMixed ? `${compiled.workload}:${listener.port}` : compiled.workload;
      return [{ at, outcome: outcomeOf(reduceRule(here, unproved(asksToken))) }];
    });
  });
  return byOutcome(found, (at, outcome) => ({
    code: "GAR0205",
    message: `${policy.action} rule ${name} asks for a token, and no RequestAuthentication selects ${named(at)}: nobody's token counts there, and it ${FOR_UNKNOWN[policy.action][outcome]}`,
    place,
    help: "add a RequestAuthentication with the issuer of the tokens for these workloads",
  }));
}
