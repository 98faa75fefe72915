/** Which records are asked for, and the same as SQL. */
import type { SQLInputValue } from "node:sqlite";
import type { Effect } from "./record.ts";

/** Everything that is given must hold. */
export interface AuditFilter {
  /** Milliseconds since the epoch: at or after. */
  readonly since?: number;
  /** Milliseconds since the epoch: before. */
  readonly until?: number;
  /** `NAMESPACE/NAME`. */
  readonly workload?: string;
  /** `NAMESPACE/NAME`. */
  readonly service?: string;
  readonly caller?: CallerFilter;
  readonly effect?: Effect;
  /** Only what was allowed, and would be denied were dry runs in force. */
  readonly wouldDeny?: true;
  readonly method?: string;
  readonly path?: { readonly kind: "exact" | "prefix"; readonly value: string };
  /** `NAMESPACE/POLICY[RULE]`, `default` or `no-policy`; `NAMESPACE/POLICY` stands for all of its rules. */
  readonly origin?: string;
  /** Only records that arrived later than this one: of the replica whose number it is alone. */
  readonly afterId?: number;
  /** Whose number `afterId` is; of the one that is asked where nothing is said. */
  readonly replica?: string;
  /** At most so many; undefined for all. */
  readonly limit?: number;
  /** By arrival. The oldest first where nothing is said. */
  readonly order?: "oldest" | "newest";
}

export type CallerFilter =
  | { readonly kind: "spiffe-id"; readonly id: string }
  /** In any trust domain. */
  | { readonly kind: "service-account"; readonly namespace: string; readonly name: string }
  /** Callers without an identity: plaintext, and handshakes that failed. */
  | { readonly kind: "none" };

/** A condition on the columns of `record` with its parameters, in order. */
export interface SqlCondition {
  readonly sql: string;
  readonly values: readonly SQLInputValue[];
}

/** The path of a caller's SPIFFE ID; the index `record_caller` is on this very expression. */
export const CALLER_PATH = "substr(caller, instr(caller, '/ns/'))";
/** The index `record_not_allowed` holds just these; a query uses it only if it repeats the condition. */
export const NOT_ALLOWED = "effect <> 'allow'";

/** The index `record_would_deny` holds just these. */
export const WOULD_DENY = "effect = 'allow' AND dry_run = 'deny'";

function equals(column: string, value: SQLInputValue): SqlCondition {
  return { sql: `${column} = ?`, values: [value] };
}

function callerIs(caller: CallerFilter): SqlCondition {
  switch (caller.kind) {
    case "spiffe-id":
      return { sql: `${CALLER_PATH} = ? AND caller = ?`, values: [caller.id.slice(Math.max(caller.id.indexOf("/ns/"), 0)), caller.id] };
    case "service-account":
      return equals(CALLER_PATH, `/ns/${caller.namespace}/sa/${caller.name}`);
    case "none":
      return { sql: `${CALLER_PATH} = '' AND caller = ''`, values: [] };
  }
}

function effectIs(effect: Effect): SqlCondition {
  return effect === "allow" ? equals("effect", effect) : { sql: `${NOT_ALLOWED} AND effect = ?`, values: [effect] };
}

function startsWith(column: string, prefix: string): SqlCondition {
  return { sql: `substr(${column}, 1, ?) = ?`, values: [[...prefix].length, prefix] };
}

function originIs(origin: string): SqlCondition {
  const rules = startsWith("origin", `${origin}[`);
  return { sql: `(origin = ? OR ${rules.sql})`, values: [origin, ...rules.values] };
}

/** What a filter asks of a record's own columns. `limit`, `afterId`, `replica` and `order` are not: these ask for a range. */
export function toSql(filter: AuditFilter): SqlCondition {
  const { since, until, workload, service, caller, effect, wouldDeny, method, path, origin } = filter;
  const conditions = [
    since === undefined ? [] : { sql: "time >= ?", values: [since] },
    until === undefined ? [] : { sql: "time < ?", values: [until] },
    workload === undefined ? [] : equals("workload", workload),
    service === undefined ? [] : equals("service", service),
    caller === undefined ? [] : callerIs(caller),
    effect === undefined ? [] : effectIs(effect),
    wouldDeny === undefined ? [] : { sql: WOULD_DENY, values: [] },
    method === undefined ? [] : equals("method", method),
    path === undefined ? [] : path.kind === "exact" ? equals("path", path.value) : startsWith("path", path.value),
    origin === undefined ? [] : originIs(origin),
  ].flat();
  return { sql: conditions.map(({ sql }) => ` AND ${sql}`).join(""), values: conditions.flatMap(({ values }) => values) };
}
