/** Names of callers that nobody in the mesh has. Patterns, and names of other trust domains, may be anybody's. */
import type { Diagnostic } from "../../core/diagnostic.ts";
import { DEFAULT_TRUST_DOMAIN } from "../../identity/trust-domain.ts";
import { derived, narrow } from "../../mesh/recording.ts";
import type { MeshSnapshot } from "../../mesh/snapshot.ts";
import { quote } from "../../policy/decode/report.ts";
import { closest } from "../../policy/decode/suggest.ts";
import type { Clause, ServiceEntryObject } from "../../policy/model.ts";
import { formatValueMatch, type ValueMatch } from "../../policy/pattern.ts";
import { trustDomainsOf } from "../trust-domains.ts";
import { fieldName } from "./field-name.ts";
import { isMisspelt } from "./misspelt.ts";
import { named, type PlacedRule } from "./placed-rule.ts";
import { clausesOf } from "./reach.ts";

interface Account {
  readonly namespace: string;
  readonly name: string;
}

/** Looking for what was meant costs; a mesh with more wrong names than this has other troubles. */
const MAX_SUGGESTIONS = 200;
const MAX_CANDIDATES = 1000;

/** Who there is: accounts by their namespace. */
class Population {
  readonly #accounts = new Map<string, Set<string>>();
  readonly #declared: ReadonlySet<string>;
  readonly #meant = new Map<string, Account | undefined>();

  constructor(declared: ReadonlySet<string>, accounts: readonly Account[]) {
    this.#declared = declared;
    for (const { namespace, name } of accounts) {
      const known = this.#accounts.get(namespace) ?? new Set();
      this.#accounts.set(namespace, known.add(name));
    }
  }

  hasNamespace(name: string): boolean {
    return this.#declared.has(name) || this.#accounts.has(name);
  }

  has({ namespace, name }: Account): boolean {
    return this.#accounts.get(namespace)?.has(name) === true;
  }

  /** The namespace that was meant, if one is near. */
  nearNamespace(name: string): string | undefined {
    const accounts = [...this.#accounts.keys(), ...this.#declared].slice(0, MAX_CANDIDATES);
    return closest(name, accounts);
  }

  #search({ namespace, name }: Account): Account | undefined {
    const own = this.#accounts.get(namespace);
    const beside = own === undefined ? undefined : closest(name, [...own].slice(0, MAX_CANDIDATES));
    if (beside !== undefined) return { namespace, name: beside };
    const others = [...this.#accounts].filter(([, names]) => names.has(name)).map(([other]) => other);
    const other = closest(namespace, others.slice(0, MAX_CANDIDATES)) ?? others[0];
    return other === undefined ? undefined : { namespace: other, name };
  }

  /** The account that was meant, if one is near: of that namespace, or of that name. */
  near(account: Account): Account | undefined {
    const key = `${account.namespace}/${account.name}`;
    if (!this.#meant.has(key) && this.#meant.size < MAX_SUGGESTIONS) this.#meant.set(key, this.#search(account));
    return this.#meant.get(key);
  }
}

function accountsIn(identity: string): readonly Account[] {
  const [, , , , namespace, , name] = identity.split("/");
  return namespace === undefined || name === undefined ? [] : [{ namespace, name }];
}

function accountsOfEntry({ meta, endpoints, subjectAltNames }: ServiceEntryObject): readonly Account[] {
  const served = endpoints.kind === "inline" ? endpoints.list : [];
  return [
    ...served.flatMap(({ serviceAccount: name }) => (name === undefined ? [] : [{ namespace: meta.namespace, name }])),
    ...subjectAltNames.flatMap(({ kind, value }) => (kind === "uri" ? accountsIn(value) : [])),
  ];
}

/** The same list while nobody comes or goes, wherever their workloads move. */
const accountsOf = derived((snapshot): readonly Account[] => {
  const all = [
    ...[...snapshot.identities].flatMap(accountsIn),
    ...[...snapshot.workloads.values()].map(({ namespace, serviceAccount: name }) => ({ namespace, name })),
    ...snapshot.serviceEntries.flatMap(accountsOfEntry),
  ];
  return [...new Map(all.map((account) => [`${account.namespace}/${account.name}`, account])).values()];
});

const populationOf = narrow((snapshot) => new Population(snapshot.namespaces, accountsOf(snapshot)));

interface Missing {
  readonly text: string;
  /** What may have been meant, as it would be written. */
  readonly meant: string | undefined;
}

/** Of a principal that is one account of this mesh. */
function missingPrincipal(value: string, snapshot: MeshSnapshot): Missing | undefined {
  const [domain = "", , namespace = "", , name = ""] = value.split("/");
  if (domain !== DEFAULT_TRUST_DOMAIN && !trustDomainsOf(snapshot).includes(domain)) return undefined;
  const population = populationOf(snapshot);
  if (population.has({ namespace, name })) return undefined;
  const meant = population.near({ namespace, name });
  return { text: value, meant: meant && `${domain}/ns/${meant.namespace}/sa/${meant.name}` };
}

function missingIn(snapshot: MeshSnapshot, { attribute }: Clause, value: ValueMatch): Missing | undefined {
  // Whom another trust domain has, nobody here knows.
  if (attribute !== "principal" && snapshot.federated.length > 0) return undefined;
  const population = populationOf(snapshot);
  if (value.kind === "service-account") {
    if (population.has(value)) return undefined;
    const meant = population.near(value);
    return { text: formatValueMatch(value), meant: meant && `${meant.namespace}/${meant.name}` };
  }
  if (value.kind !== "exact") return undefined;
  if (attribute === "principal") return isMisspelt(attribute, value) ? undefined : missingPrincipal(value.value, snapshot);
  if (attribute !== "namespace" || population.hasNamespace(value.value)) return undefined;
  return { text: value.value, meant: population.nearNamespace(value.value) };
}

const CALLERS: ReadonlySet<string> = new Set(["principal", "namespace", "serviceAccount"]);

const UNTIL =
  "until there is a ServiceAccount of that name and namespace, no caller can prove to be it; names are compared with regard to case";

/** One diagnostic for each field. */
export function absentCallers({ policy, rule, name, place, snapshot }: PlacedRule): readonly Diagnostic[] {
  // A folder of policies alone says nothing of who there is.
  if (snapshot.identities.size === 0) return [];
  const byField = new Map<string, { readonly negated: boolean; readonly missing: Map<string, Missing> }>();
  for (const clause of clausesOf(rule).filter(({ attribute }) => CALLERS.has(attribute))) {
    for (const value of clause.values) {
      const missing = missingIn(snapshot, clause, value);
      if (missing === undefined) continue;
      const field = fieldName(clause);
      const known = byField.get(field) ?? { negated: clause.negated, missing: new Map() };
      byField.set(field, known);
      known.missing.set(missing.text, missing);
    }
  }
  return [...byField].map(([field, { negated, missing }]) => {
    const texts = [...missing.keys()].map(quote);
    const meant = [...new Set([...missing.values()].flatMap((one) => one.meant ?? []))].map(quote);
    const effect = negated ? "excludes nobody" : "matches nobody";
    return {
      code: "GAR0208",
      message: `${policy.action} rule ${name} has ${named(texts)} in \`${field}\`, which ${effect}: no account of the mesh has it`,
      place,
      help: meant.length === 0 ? UNTIL : `did you mean ${named(meant)}?`,
    };
  });
}
