/** What people write to ask the record: the flags of `garrison audit`, and the same names in the query of its URL. */
import { AppError } from "../core/error.ts";
import { parseServiceAccount, parseSpiffeId } from "../identity/spiffe-id.ts";
import type { AuditFilter, CallerFilter } from "./filter.ts";
import { EFFECTS, type Effect } from "./record.ts";

/** The flags and their values as written; a flag that was not given is absent or undefined. */
export type AuditQueryValues = Readonly<Record<string, string | undefined>>;

/** Makes one part of the filter from a flag's text; `now` in milliseconds since the epoch. Throws `invalid-argument`. */
type ParseFlag = (text: string, now: number) => AuditFilter;

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const DURATION = /^(\d{1,9})(ms|s|m|h|d)$/;
/** RFC 3339; the time of day and its zone may be left out, and then it is midnight, or UTC. */
const TIMESTAMP = /^(\d{4}-\d{2}-\d{2})(?:[Tt ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)([Zz]|[+-]\d{2}:\d{2})?)?$/;
const METHOD = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/;
const ORIGIN = /^(?:default|no-policy|revoked|[a-z0-9.-]+\/[a-z0-9.-]+(?:\[\d{1,6}\])?)$/;
const MAX_LIMIT = 10_000_000;
const MAX_PATH = 8192;

function invalid(flag: string, text: string, why: string, help: string): AppError {
  return new AppError("invalid-argument", `\`${text.slice(0, 300)}\` is not a value of \`${flag}\`: ${why}`, { help });
}

/** A moment: `10m` ago, or a timestamp. Milliseconds since the epoch. */
function parseMoment(flag: string, text: string, now: number): number {
  const [, amount, unit = ""] = DURATION.exec(text) ?? [];
  if (amount !== undefined) return now - Number(amount) * (UNIT_MS[unit] ?? 0);
  const [, date, time = "00:00:00", zone = "Z"] = TIMESTAMP.exec(text) ?? [];
  const moment = date === undefined ? Number.NaN : Date.parse(`${date}T${time}${zone}`.toUpperCase());
  if (Number.isNaN(moment))
    throw invalid(
      flag,
      text,
      "neither a duration nor a time",
      "write `10m` for ten minutes ago (ms, s, m, h, d), or `2026-11-22T10:00:00Z`",
    );
  return moment;
}

function parseObjectName(flag: string, text: string): string {
  try {
    const { namespace, name } = parseServiceAccount(text);
    return `${namespace}/${name}`;
  } catch {
    throw invalid(flag, text, "not a NAMESPACE/NAME", "write it as NAMESPACE/NAME, such as `photo-ns/photo-backend`");
  }
}

/** Of another cluster, with its name: `NAMESPACE/NAME@CLUSTER`. */
function parseWorkload(text: string): string {
  const [, own = text, cluster = ""] = /^([^@]*)(@[-._a-zA-Z0-9]{1,128})$/.exec(text) ?? [];
  return parseObjectName("workload", own) + cluster;
}

function parseCaller(text: string): CallerFilter {
  if (text === "none") return { kind: "none" };
  if (text.startsWith("spiffe:")) {
    parseSpiffeId(text);
    return { kind: "spiffe-id", id: text };
  }
  const [namespace = "", name = ""] = parseObjectName("caller", text).split("/");
  return { kind: "service-account", namespace, name };
}

function parseEffect(text: string): Effect {
  const effect = EFFECTS.find((known) => known === text);
  if (effect === undefined)
    throw invalid("effect", text, "there is no such effect", `write one of ${EFFECTS.map((known) => `\`${known}\``).join(", ")}`);
  return effect;
}

function parsePath(text: string): NonNullable<AuditFilter["path"]> {
  const prefix = text.endsWith("*");
  const value = prefix ? text.slice(0, -1) : text;
  if (!text.startsWith("/") && text !== "*")
    throw invalid("path", text, "it does not begin with `/`", "write `/photos` for just that path, or `/photos*` for all that begin so");
  if (value.includes("*") || value.length > MAX_PATH)
    throw invalid("path", text, "only one `*`, at the end, is understood", "write `/photos*`");
  return { kind: prefix ? "prefix" : "exact", value };
}

function parseMatching(flag: string, text: string, pattern: RegExp, help: string): string {
  if (!pattern.test(text)) throw invalid(flag, text, "it does not have the form of one", help);
  return text;
}

function parseWhole(flag: string, text: string, least: number, most: number): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most))
    throw invalid(flag, text, `not a whole number from ${least} to ${most}`, `write a number, such as \`${flag}=100\``);
  return value;
}

const FLAGS = {
  since: (text, now) => ({ since: parseMoment("since", text, now) }),
  until: (text, now) => ({ until: parseMoment("until", text, now) }),
  workload: (text) => ({ workload: parseWorkload(text) }),
  service: (text) => ({ service: parseObjectName("service", text) }),
  caller: (text) => ({ caller: parseCaller(text) }),
  effect: (text) => ({ effect: parseEffect(text) }),
  "would-deny": (text) => (text === "true" ? { wouldDeny: true } : refuseWouldDeny(text)),
  method: (text) => ({ method: parseMatching("method", text, METHOD, "write a method such as `GET`") }),
  path: (text) => ({ path: parsePath(text) }),
  origin: (text) => ({
    origin: parseMatching(
      "origin",
      text,
      ORIGIN,
      "write `NAMESPACE/POLICY`, `NAMESPACE/POLICY[RULE]`, `default`, `no-policy` or `revoked`",
    ),
  }),
  "after-id": parseAfterId,
  limit: (text) => ({ limit: parseWhole("limit", text, 1, MAX_LIMIT) }),
  order: (text) => ({ order: text === "oldest" || text === "newest" ? text : refuseOrder(text) }),
} as const satisfies Record<string, ParseFlag>;

/** The number of a record, and the replica whose it is. */
const NUMBER_OF = /^([^@]*)@([a-z0-9-]{1,63})$/;

function parseAfterId(text: string): AuditFilter {
  const [, number = text, replica] = NUMBER_OF.exec(text) ?? [];
  const afterId = parseWhole("after-id", number, 0, Number.MAX_SAFE_INTEGER);
  return replica === undefined ? { afterId } : { afterId, replica };
}

function refuseOrder(text: string): never {
  throw invalid("order", text, "there is no such order", "write `oldest` or `newest`: which records come first");
}

function refuseWouldDeny(text: string): never {
  throw invalid("would-deny", text, "it can only be true", "write `true`, or leave it out");
}

/** The flags that `parseAuditFilter` reads. */
export const AUDIT_FLAGS = Object.keys(FLAGS);

/**
 * A filter from its flags: `since` and `until` (`10m`, or a time), `workload`, `service` (NAMESPACE/NAME), `caller` (NAMESPACE/SERVICE-ACCOUNT,
 * a SPIFFE ID, or `none`), `effect`, `would-deny`, `method`, `path` (`/photos*`), `origin`, `after-id` (`17`, `17@REPLICA`), `limit`, `order`. `now`: milliseconds since the
 * epoch, for durations. Throws `invalid-argument`, also for a flag that it does not know.
 */
export function parseAuditFilter(values: AuditQueryValues, now: number): AuditFilter {
  let filter: AuditFilter = {};
  for (const [flag, text] of Object.entries(values)) {
    if (text === undefined) continue;
    if (!Object.hasOwn(FLAGS, flag)) {
      throw new AppError("invalid-argument", `the record cannot be asked by \`${flag.slice(0, 100)}\``, {
        help: `it can be asked by ${AUDIT_FLAGS.join(", ")}`,
      });
    }
    filter = { ...filter, ...FLAGS[flag as keyof typeof FLAGS](text, now) };
  }
  const { since, until } = filter;
  if (since !== undefined && until !== undefined && since >= until) {
    throw new AppError("invalid-argument", "`since` is not before `until`: no record can match", { help: "swap them, or leave one out" });
  }
  return filter;
}
