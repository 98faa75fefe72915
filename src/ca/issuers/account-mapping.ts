/**
 * Whose a token of outside is: conditions and templates on its claims. The language is closed, without patterns: a condition is an equality, a
 * template takes one claim whole, and what comes out must be a name that Kubernetes allows.
 */
import { AppError } from "../../core/error.ts";
import { isDnsLabel, isDnsSubdomain } from "../../policy/decode/kubernetes-name.ts";

export type Claims = Readonly<Record<string, unknown>>;

/** A service account. */
export interface Account {
  readonly namespace: string;
  readonly name: string;
}

/** The names that lead to a claim, from the outermost. */
export type ClaimPath = readonly [string, ...string[]];

export type ClaimValue = string | number | boolean;

/** The claim, or one element of it where it is a list, is one of the values. */
export interface Condition {
  readonly claim: ClaimPath;
  readonly values: readonly ClaimValue[];
}

/** `before`, the text of a claim, `after`; without a claim `before` alone. */
export interface Template {
  readonly before: string;
  readonly claim: ClaimPath | undefined;
  readonly after: string;
}

/** An entry of `accounts`: where all conditions hold, the caller is this account. */
export interface AccountRule {
  /** At least one. */
  readonly when: readonly Condition[];
  readonly namespace: Template;
  readonly name: Template;
}

function refuse(reason: string): AppError {
  return new AppError("unauthenticated", `the token was refused: ${reason}`);
}

function isMap(value: unknown): value is Claims {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What the claims say at a path; undefined where they say nothing. */
function claimAt(claims: Claims, path: ClaimPath): unknown {
  let value: unknown = claims;
  for (const name of path) value = isMap(value) && Object.hasOwn(value, name) ? value[name] : undefined;
  return value;
}

function holds({ claim, values }: Condition, claims: Claims): boolean {
  const found = claimAt(claims, claim);
  const elements: readonly unknown[] = Array.isArray(found) ? found : [found];
  return values.some((value) => elements.includes(value));
}

function fill({ before, claim, after }: Template, claims: Claims): string {
  if (claim === undefined) return before;
  const value = claimAt(claims, claim);
  if (typeof value === "string") return `${before}${value}${after}`;
  throw refuse("it lacks a claim that its account is made of");
}

/** The account of the first rule whose conditions hold. Throws `unauthenticated` where none does, or where the claims make no name. */
export function accountOf(rules: readonly AccountRule[], claims: Claims): Account {
  const rule = rules.find(({ when }) => when.every((condition) => holds(condition, claims)));
  if (rule === undefined) throw refuse("its claims stand for no service account");
  const account = { namespace: fill(rule.namespace, claims), name: fill(rule.name, claims) };
  if (isDnsLabel(account.namespace) && isDnsSubdomain(account.name)) return account;
  throw refuse("its claims make no name of a service account");
}
