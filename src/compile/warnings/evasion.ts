/**
 * Rules that a client gets past by spelling: what one reader of a path or host takes for the same, and the proxy compares as
 * another text. Each warning shows requests that do.
 */
import type { Diagnostic } from "../../core/diagnostic.ts";
import { quote } from "../../policy/decode/report.ts";
import type { PathNormalization } from "../../policy/mesh-config.ts";
import type { Clause, Rule } from "../../policy/model.ts";
import { pathOrHostMatches, type ValueMatch } from "../../policy/pattern.ts";
import type { ServerSide } from "../workload-policy.ts";
import type { PlacedRule } from "./placed-rule.ts";

type Respell = (text: string) => string;

const MODES: readonly PathNormalization[] = ["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"];

interface Spelling {
  readonly respell: Respell;
  /** The last mode of path normalization that leaves it as it is. */
  readonly until: PathNormalization;
}

/** What path normalization may leave as it is, and many an application does not. */
const PATH_SPELLINGS: readonly Spelling[] = [
  { respell: (path) => (path === path.toUpperCase() ? path.toLowerCase() : path.toUpperCase()), until: "DECODE_AND_MERGE_SLASHES" },
  { respell: (path) => (path === "/" ? path : `${path};x=1`), until: "DECODE_AND_MERGE_SLASHES" },
  { respell: (path) => `/${path}`, until: "BASE" },
  { respell: (path) => path.replace(/(.)\//, "$1%2f"), until: "MERGE_SLASHES" },
  { respell: (path) => (path.endsWith("/") ? path : `${path}/`), until: "DECODE_AND_MERGE_SLASHES" },
  { respell: (path) => path.replace("/", "/./"), until: "NONE" },
];

function pathSpellings(mode: PathNormalization): readonly Respell[] {
  return PATH_SPELLINGS.filter(({ until }) => MODES.indexOf(mode) <= MODES.indexOf(until)).map(({ respell }) => respell);
}

/** Hosts are compared with their port, and names may end with the dot of the root (RFC 1034 §3.1). */
const HOST_SPELLINGS: readonly Respell[] = [(host) => (/:\d+$/.test(host) ? host : `${host}:80`), (host) => `${host}.`];

/** A text that the value matches; undefined where it matches any. */
function exampleOf(attribute: "path" | "host", value: ValueMatch): string | undefined {
  switch (value.kind) {
    case "exact":
      return value.value;
    case "prefix":
      return attribute === "host" ? `${value.value}x` : value.value;
    case "suffix":
      return attribute === "host" ? `x${value.value}` : value.value.startsWith("/") ? value.value : `/x${value.value}`;
    case "template":
      return value.segments.map((segment) => `/${segment.kind === "literal" ? segment.value : "x"}`).join("");
    default:
      return undefined;
  }
}

type PathOrHost = Clause & { readonly attribute: "path" | "host" };

/** Spellings of what a clause matches that none of `values` does. */
/** In no path after normalization, or in none that a client sends as it stands: dot segments, escapes, several slashes, other characters. */
const UNSETTLED = /\/\.{1,2}(?:[/;]|$)|\/\/|[%\\"<>^`{|}?#*]|[^\x21-\x7e]/;

/** Whether a request can have the text as it is, so that the value matches it and another spelling can be held against it. */
function canBeSent(attribute: "path" | "host", text: string): boolean {
  return attribute === "host" ? !/[/*\s]/.test(text) : text.startsWith("/") && !UNSETTLED.test(text);
}

function evadingSpellings(
  { attribute, values: own }: PathOrHost,
  selected: readonly ServerSide[],
  values: readonly ValueMatch[] = own,
): readonly string[] {
  // The mode is the mesh's.
  const spellings = attribute === "path" ? pathSpellings(selected[0]?.pathNormalization ?? "BASE") : HOST_SPELLINGS;
  const fold = attribute === "host";
  const found = own.flatMap((value) => {
    const example = exampleOf(attribute, value);
    if (example === undefined || !canBeSent(attribute, example)) return [];
    return spellings.map((respell) => respell(example)).filter((text) => !values.some((one) => pathOrHostMatches(one, text, fold)));
  });
  return [...new Set(found)];
}

function isPathOrHost(clause: Clause): clause is PathOrHost {
  return clause.attribute === "path" || clause.attribute === "host";
}

const MAX_SHOWN = 5;

/** One of each way of spelling before a second of any. */
function shown(spellings: readonly string[]): string {
  return spellings.slice(0, MAX_SHOWN).map(quote).join(", ");
}

/** What a rule says of paths, and of hosts, each in one: what is to be told of it is told once. */
function clausesOf({ to }: Rule, negated: boolean): readonly PathOrHost[] {
  const clauses = to
    .flat()
    .filter(isPathOrHost)
    .filter((clause) => clause.negated === negated);
  const byAttribute = Map.groupBy(clauses, ({ attribute }) => attribute);
  return byAttribute
    .values()
    .flatMap(([first, ...others]) =>
      first === undefined ? [] : [{ ...first, values: [first, ...others].flatMap(({ values }) => values) }],
    )
    .toArray();
}

function speaksHttp({ inbound }: ServerSide): boolean {
  return inbound.some(({ protocol }) => protocol !== "tcp");
}

const NAMES = { path: "path", host: "host" } as const;

/** DENY of paths or hosts that another spelling evades. */
export function evadedDenies({ policy, rule, name, place, selected }: PlacedRule): readonly Diagnostic[] {
  if (policy.action !== "DENY" || !selected.some(speaksHttp)) return [];
  const denied = policy.rules === "invalid" ? [] : policy.rules.flatMap((one) => clausesOf(one, false));
  return clausesOf(rule, false).flatMap((clause): Diagnostic[] => {
    const values = denied.filter(({ attribute }) => attribute === clause.attribute).flatMap((one) => one.values);
    const spellings = evadingSpellings(clause, selected, values);
    if (spellings.length === 0) return [];
    const what = NAMES[clause.attribute];
    return [
      {
        code: "GAR0203",
        message: `DENY rule ${name} does not match the ${what} ${shown(spellings)}, which an application may take for one that it denies`,
        place,
        help: `prefer an ALLOW policy that names the ${what}s that may be called; or list each spelling that the application knows`,
      },
    ];
  });
}

/** ALLOW of all but some paths or hosts: every other spelling of these is allowed. */
export function allowsAllBut({ policy, rule, name, place, selected }: PlacedRule): readonly Diagnostic[] {
  if (policy.action !== "ALLOW" || !selected.some(speaksHttp)) return [];
  return clausesOf(rule, true).flatMap((clause): Diagnostic[] => {
    const spellings = evadingSpellings(clause, selected);
    if (spellings.length === 0) return [];
    const what = NAMES[clause.attribute];
    return [
      {
        code: "GAR0202",
        message: `ALLOW rule ${name} excludes ${what}s by \`not${what === "path" ? "Paths" : "Hosts"}\`, and so allows the ${what} ${shown(spellings)}`,
        place,
        help: `name the ${what}s that may be called instead: what is not named stays closed`,
      },
    ];
  });
}
