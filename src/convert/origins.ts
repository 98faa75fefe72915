/** Origins by JWT -> a RequestAuthentication, and a DENY for requests that must have a token and have none. */
import type { Diagnostic } from "../core/diagnostic.ts";
import { quote, Report } from "../policy/decode/report.ts";
import type { Selector } from "../policy/model.ts";
import type { AuthenticationPolicy, Jwt, PathMatch, TriggerRule } from "./old-objects.ts";
import { type JsonObject, type Note, type Output, selectorField } from "./output.ts";

export interface OriginScope {
  readonly policy: AuthenticationPolicy;
  readonly namespace: string;
  readonly name: string;
  readonly selector: Selector;
  /** Where the service has TCP ports too, which never had origins: the others. Undefined for all. */
  readonly httpPorts: readonly string[] | undefined;
}

function withoutPlaces(_: string, value: unknown): unknown {
  return typeof value === "object" && value !== null && "place" in value && "value" in value ? value.value : value;
}

function text(value: unknown): string {
  return JSON.stringify(value, withoutPlaces);
}

/** Whether two policies ask the same of tokens. */
export function sameOrigins(left: AuthenticationPolicy, right: AuthenticationPolicy): boolean {
  return text([left.origins, left.originIsOptional]) === text([right.origins, right.originIsOptional]);
}

// === Paths ===

/** A path pattern of today, or undefined where there is none. */
function pathOf({ value: { kind, text: path } }: PathMatch): string | undefined {
  if (kind === "regex" || path.startsWith("*") || path.endsWith("*") || /[{}]/.test(path)) return undefined;
  return { exact: path, prefix: `${path}*`, suffix: `*${path}` }[kind];
}

const PATH_HELP = "write it as exact, prefix or suffix paths without `*`, `{` and `}`";

/** What of a rule has no equal is left out so that a token is asked for on more paths than it was, and never on fewer. */
function widened({ included, excluded }: TriggerRule, report: Report): TriggerRule {
  const has = (match: PathMatch) => pathOf(match) !== undefined;
  const tell = ({ value: { kind, text: path }, place }: PathMatch, so: string) =>
    report.add("GAR0004", place, `the ${kind} path ${quote(path)} has no equal, and is left out: ${so}`, PATH_HELP);
  for (const match of excluded.filter((one) => !has(one))) tell(match, "a token is asked for there now");
  const lost = included.filter((one) => !has(one));
  for (const match of lost) tell(match, "a token is asked for on all paths now that the rule does not exclude");
  return { included: lost.length > 0 ? [] : included, excluded: excluded.filter(has) };
}

/** Of all origins. Where they differ, today's API can ask for one of their tokens everywhere alone. */
function triggersOf({ origins, meta }: AuthenticationPolicy, report: Report): readonly TriggerRule[] {
  const [first, ...others] = origins;
  if (first === undefined) return [];
  if (others.every(({ triggers }) => text(triggers) === text(first.triggers))) return first.triggers.map((rule) => widened(rule, report));
  report.add(
    "GAR0004",
    meta.place,
    "origins with different `triggerRules` have no equal, and these are left out: one of the tokens is asked for on all paths now",
    "give all origins the same rules",
  );
  return [];
}

/** Where each policy asks for tokens, told once for all of its targets. */
export class TokenPaths {
  readonly #known = new Map<AuthenticationPolicy, { readonly rules: readonly TriggerRule[]; readonly report: Report }>();

  /** What of the rules has no equal, and so asks for a token where none was asked for. */
  get diagnostics(): readonly Diagnostic[] {
    return [...this.#known.values()].flatMap(({ report }) => report.diagnostics);
  }

  /** Empty for everywhere. */
  of(policy: AuthenticationPolicy): readonly TriggerRule[] {
    const known = this.#known.get(policy);
    if (known !== undefined) return known.rules;
    const report = new Report();
    const rules = triggersOf(policy, report);
    this.#known.set(policy, { rules, report });
    return rules;
  }
}

function operationOf({ included, excluded }: TriggerRule, ports: readonly string[] | undefined): JsonObject {
  const paths = included.flatMap((match) => pathOf(match) ?? []);
  const notPaths = excluded.flatMap((match) => pathOf(match) ?? []);
  return {
    ...(paths.length > 0 ? { paths } : {}),
    ...(notPaths.length > 0 ? { notPaths } : {}),
    ...(ports === undefined ? {} : { ports }),
  };
}

/** Where a token is asked for; undefined for everywhere. */
function operations(triggers: readonly TriggerRule[], ports: readonly string[] | undefined): readonly JsonObject[] | undefined {
  const rules = triggers.length === 0 ? [{ included: [], excluded: [] }] : triggers;
  const all = rules.map((rule) => operationOf(rule, ports));
  return all.some((operation) => Object.keys(operation).length === 0) ? undefined : all;
}

// === Objects ===

/** Sidecars handed the token on to the application, which today's API does only when told to. */
function jwtRule({ issuer, audiences, jwksUri, jwks, headers, params }: Jwt): JsonObject {
  return {
    ...(issuer === undefined ? {} : { issuer }),
    ...(audiences.length > 0 ? { audiences } : {}),
    ...(jwksUri === undefined ? {} : { jwksUri }),
    ...(jwks === undefined ? {} : { jwks }),
    ...(headers.length > 0 ? { fromHeaders: headers.map((name) => ({ name })) } : {}),
    ...(params.length > 0 ? { fromParams: params } : {}),
    forwardOriginalToken: true,
  };
}

function notesOf({ policy }: OriginScope): readonly Note[] {
  const triggered = policy.origins.some(({ triggers }) => triggers.length > 0);
  const strict =
    policy.originIsOptional || triggered ? ["a token that is not valid is refused everywhere, also where none was asked for"] : [];
  const principal = policy.usesPeerPrincipal
    ? ["the principal of a request is its token's, where `principalBinding: USE_PEER` made it the peer's"]
    : [];
  return [...strict, ...principal].map((message) => ({ place: policy.meta.place, message }));
}

/** Both objects. */
export function addOrigins(scope: OriginScope, output: Output, tokenPaths: TokenPaths): void {
  const { policy, namespace, name, selector, httpPorts } = scope;
  // Sidecars never looked for tokens on TCP ports.
  if (policy.origins.length === 0 || httpPorts?.length === 0) return;
  const common = { namespace, name, sources: [policy] as const };
  output.add({
    ...common,
    kind: "RequestAuthentication",
    spec: { ...selectorField(selector), jwtRules: policy.origins.map(jwtRule) },
    notes: notesOf(scope),
  });
  if (policy.originIsOptional) return;
  const to = operations(tokenPaths.of(policy), httpPorts);
  const rule = {
    from: [{ source: { notRequestPrincipals: ["*"] } }],
    ...(to === undefined ? {} : { to: to.map((operation) => ({ operation })) }),
  };
  const wide = selector.size === 0 ? ["on TCP ports it denies everything, where the old policy asked for nothing"] : [];
  const notes = ["a request without a token is refused with 403, where it was 401", ...wide].map((message) => ({
    place: policy.meta.place,
    message,
  }));
  output.add({
    ...common,
    kind: "AuthorizationPolicy",
    name: `${name}-require-token`,
    spec: { ...selectorField(selector), action: "DENY", rules: [rule] },
    notes,
  });
}
