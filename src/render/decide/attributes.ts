/**
 * The engine's half of THE table (`policy/attributes.ts`): how the values of one clause are asked of the facts. A row
 * says only when the attribute matches; negation belongs to the clause. A fact that is not there matches no value.
 */
import type { AttributeKey } from "../../policy/attributes.ts";
import { JOINED_HEADERS, joinLines } from "../../policy/joined-headers.ts";
import type { StringMatch, ValueMatch } from "../../policy/pattern.ts";
import { claimAt, claimPath, type Requester, splitRequestPrincipal, textsOf } from "../../policy/requester.ts";
import type { DecisionContext } from "./context.ts";
import { compileBlocks, compilePorts, compileServiceAccounts, compileStrings, unfit } from "./matchers.ts";

/** Whether a clause, a rule or a part of one applies. */
export type Predicate = (context: DecisionContext) => boolean;

type CompileAttribute = (values: readonly ValueMatch[], argument: string) => Predicate;

function of<T>(
  observe: (context: DecisionContext) => T | undefined,
  compile: (values: readonly ValueMatch[]) => (value: T) => boolean,
): CompileAttribute {
  return (values) => {
    const test = compile(values);
    return (context) => {
      const value = observe(context);
      return value !== undefined && test(value);
    };
  };
}

/** Text. One value that is exact or a prefix, the most usual clause, is compared in one step: each step aside may be one into cold memory. */
function ofText(observe: (context: DecisionContext) => string | undefined): CompileAttribute {
  const general = of(observe, (values) => compileStrings(values));
  return (values, argument) => {
    const [only] = values;
    if (values.length > 1 || (only?.kind !== "exact" && only?.kind !== "prefix")) return general(values, argument);
    const { kind, value } = only;
    return kind === "exact" ? (context) => observe(context) === value : (context) => observe(context)?.startsWith(value) === true;
  };
}

const foldedText = (values: readonly ValueMatch[]): ((value: string) => boolean) => compileStrings(values, true);

/** Every value of a repeated header is tried on its own (Envoy 1.40; CVE-2026-26308 was their concatenation), but for a few that Envoy joins. */
const header: CompileAttribute = (values, argument) => {
  const test = compileStrings(values);
  const name = argument.toLowerCase();
  if (!JOINED_HEADERS.has(name)) return (context) => context.facts.http?.headers.get(name)?.some(test) === true;
  return (context) => {
    const lines = context.facts.http?.headers.get(name);
    return lines !== undefined && test(joinLines(lines));
  };
};

// === The requester ===

function asText(value: ValueMatch): StringMatch {
  if (value.kind === "exact" || value.kind === "prefix" || value.kind === "suffix" || value.kind === "present") return value;
  throw unfit(value, "text");
}

/** Without a verified token nothing of it matches. */
function onRequester(compile: (values: readonly ValueMatch[], argument: string) => (requester: Requester) => boolean): CompileAttribute {
  return (values, argument) => {
    const test = compile(values, argument);
    return ({ facts: { requester } }) => requester !== undefined && test(requester);
  };
}

/** A claim that is a text, or a list with a text that matches. */
function claim(pathOf: (argument: string) => readonly string[]): CompileAttribute {
  return onRequester((values, argument) => {
    const [path, test] = [pathOf(argument), compileStrings(values.map(asText))];
    return (requester) => textsOf(claimAt(requester, path)).some(test);
  });
}

export const COMPILE_ATTRIBUTE = {
  principal: ofText((context) => context.principal),
  namespace: ofText((context) => context.identity?.namespace),
  serviceAccount: of((context) => context.identity, compileServiceAccounts),
  trustDomain: ofText((context) => context.trustDomain),
  sourceIp: of((context) => context.sourceIp, compileBlocks),
  remoteIp: of((context) => context.remoteIp, compileBlocks),
  host: of((context) => context.host, foldedText),
  method: ofText((context) => context.facts.http?.method),
  path: ofText((context) => context.facts.http?.path),
  destinationPort: of((context) => context.facts.destinationPort, compilePorts),
  destinationIp: of((context) => context.destinationIp, compileBlocks),
  sni: of((context) => context.sni, foldedText),
  header,
  requestPrincipal: onRequester((values) => {
    const tests = values.map((value) => {
      const { issuer, subject } = splitRequestPrincipal(asText(value));
      const [isIssuer, isSubject] = [compileStrings([issuer]), compileStrings([subject])];
      return ({ claims: { iss, sub } }: Requester) => typeof iss === "string" && typeof sub === "string" && isIssuer(iss) && isSubject(sub);
    });
    return (requester) => tests.some((test) => test(requester));
  }),
  audience: claim(() => ["aud"]),
  presenter: claim(() => ["azp"]),
  claim: claim(claimPath),
} as const satisfies Record<AttributeKey, CompileAttribute>;

/** What a clause on the attribute sees, for explanations: each value on its own, and none where there is nothing to see. */
type ObserveAttribute = (context: DecisionContext, argument: string) => readonly string[];

function seen(observe: (context: DecisionContext) => string | undefined): ObserveAttribute {
  return (context) => {
    const value = observe(context);
    return value === undefined || value === "" ? [] : [value];
  };
}

function seenClaim(pathOf: (argument: string) => readonly string[]): ObserveAttribute {
  return ({ facts: { requester } }, argument) => (requester === undefined ? [] : textsOf(claimAt(requester, pathOf(argument))));
}

export const OBSERVE_ATTRIBUTE = {
  principal: seen((context) => context.principal),
  namespace: seen((context) => context.identity?.namespace),
  serviceAccount: seen((context) => (context.identity ? `${context.identity.namespace}/${context.identity.serviceAccount}` : undefined)),
  trustDomain: seen((context) => context.trustDomain),
  sourceIp: seen((context) => context.facts.sourceIp),
  remoteIp: seen((context) => context.facts.remoteIp),
  host: seen((context) => context.facts.http?.host),
  method: seen((context) => context.facts.http?.method),
  path: seen((context) => context.facts.http?.path),
  destinationPort: seen((context) => String(context.facts.destinationPort)),
  destinationIp: seen((context) => context.facts.destinationIp),
  sni: seen((context) => context.facts.sni),
  header: (context, argument) => {
    const name = argument.toLowerCase();
    const lines = context.facts.http?.headers.get(name) ?? [];
    return JOINED_HEADERS.has(name) && lines.length > 1 ? [joinLines(lines)] : lines;
  },
  requestPrincipal: seen(({ facts: { requester } }) => {
    const [issuer, subject] = [requester?.claims.iss, requester?.claims.sub];
    return typeof issuer === "string" && typeof subject === "string" ? `${issuer}/${subject}` : undefined;
  }),
  audience: seenClaim(() => ["aud"]),
  presenter: seenClaim(() => ["azp"]),
  claim: seenClaim(claimPath),
} as const satisfies Record<AttributeKey, ObserveAttribute>;
