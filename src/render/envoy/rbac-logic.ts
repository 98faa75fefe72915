/** AND, OR and NOT on each of the two sides of Envoy's RBAC: permissions (what is called) and principals (who calls). */
import type { PermissionInit, PrincipalInit } from "./attributes.ts";

export interface Logic<T> {
  readonly not: (operand: T) => T;
  /** An empty list is no constraint, in both. */
  readonly all: (operands: readonly T[]) => T;
  readonly any: (operands: readonly T[]) => T;
}

function logic<T>(anything: T, not: (operand: T) => T, and: (operands: T[]) => T, or: (operands: T[]) => T): Logic<T> {
  const unlessSingle = (join: (operands: T[]) => T) => (operands: readonly T[]) =>
    operands.length < 2 ? (operands[0] ?? anything) : join([...operands]);
  return { not, all: unlessSingle(and), any: unlessSingle(or) };
}

export const PERMISSIONS = logic<PermissionInit>(
  { rule: { case: "any", value: true } },
  (value) => ({ rule: { case: "notRule", value } }),
  (rules) => ({ rule: { case: "andRules", value: { rules } } }),
  (rules) => ({ rule: { case: "orRules", value: { rules } } }),
);

export const PRINCIPALS = logic<PrincipalInit>(
  { identifier: { case: "any", value: true } },
  (value) => ({ identifier: { case: "notId", value } }),
  (ids) => ({ identifier: { case: "andIds", value: { ids } } }),
  (ids) => ({ identifier: { case: "orIds", value: { ids } } }),
);
