/** Rules of an AuthorizationPolicy: their fields follow from THE table of attributes. */
import { ATTRIBUTES, type AttributeKey, attributeRow } from "../attributes.ts";
import type { Clause, Rule } from "../model.ts";
import { conditionKey } from "./condition-key.ts";
import { LIMITS } from "./limits.ts";
import { type Decoder, type Fields, list, record, wrong } from "./reader.ts";
import { valuesOf } from "./values.ts";

interface ClauseField {
  readonly name: string;
  readonly attribute: AttributeKey;
  readonly negated: boolean;
}

/** `principals` and `notPrincipals`. */
function withNegative(name: string, attribute: AttributeKey): readonly ClauseField[] {
  const negative = `not${name.slice(0, 1).toUpperCase()}${name.slice(1)}`;
  return [
    { name, attribute, negated: false },
    { name: negative, attribute, negated: true },
  ];
}

function clauseFields(part: "source" | "operation"): readonly ClauseField[] {
  const keys = Object.keys(ATTRIBUTES).filter((key): key is AttributeKey => key in ATTRIBUTES);
  return keys.flatMap((key) => {
    const name = attributeRow(key)[part];
    return name === undefined ? [] : withNegative(name, key);
  });
}

const SOURCE_FIELDS = clauseFields("source");
const OPERATION_FIELDS = clauseFields("operation");

/** The clauses of a source or operation. One without any would match everything, which its author hardly meant (VA-3). */
function readClauses(fields: Fields, known: readonly ClauseField[], namespace: string): readonly Clause[] | undefined {
  const present = known.filter(({ name }) => fields.has(name));
  fields.expect(...known.map(({ name }) => name));
  if (fields.isEmpty) return wrong(fields.cursor, "GAR0007", "names no field, and so would match everything", "remove it, or name a field");
  return present.flatMap(({ name, attribute, negated }) => {
    const values = fields.optional(name, valuesOf(attribute, namespace));
    return values === undefined ? [] : [{ attribute, argument: "", values, negated }];
  });
}

/** VA-6. */
function checkServiceAccounts(fields: Fields): void {
  const accounts = ["serviceAccounts", "notServiceAccounts"].find((name) => fields.has(name));
  const other = ["principals", "notPrincipals", "namespaces", "notNamespaces"].find((name) => fields.has(name));
  if (accounts === undefined || other === undefined) return;
  wrong(
    fields.cursor,
    "GAR0007",
    `has both \`${accounts}\` and \`${other}\`, which cannot stand together`,
    "write the namespace into the service account: `NAMESPACE/NAME`",
  );
}

function sourceDecoder(namespace: string): Decoder<readonly Clause[]> {
  return record((fields) => {
    checkServiceAccounts(fields);
    return readClauses(fields, SOURCE_FIELDS, namespace);
  });
}

function operationDecoder(namespace: string): Decoder<readonly Clause[]> {
  return record((fields) => readClauses(fields, OPERATION_FIELDS, namespace));
}

/** An element of `when`: one clause for `values`, one for `notValues`. */
function conditionDecoder(namespace: string): Decoder<readonly Clause[]> {
  return record((fields) => {
    const key = fields.required("key", conditionKey);
    fields.expect("values", "notValues");
    if (!fields.has("values") && !fields.has("notValues")) {
      return wrong(fields.cursor, "GAR0005", "has neither `values` nor `notValues`", 'add `values: ["…"]`; `"*"` is any value');
    }
    if (key === undefined) return undefined;
    const decoder = valuesOf(key.attribute, namespace);
    const clause = (name: "values" | "notValues"): readonly Clause[] => {
      const values = fields.optional(name, decoder);
      return values === undefined ? [] : [{ ...key, values, negated: name === "notValues" }];
    };
    return [...clause("values"), ...clause("notValues")];
  });
}

/** Each element holds one field, `source` or `operation`, and nothing else. */
function elementsOf(field: "source" | "operation", decoder: Decoder<readonly Clause[]>): Decoder<readonly (readonly Clause[])[]> {
  return list(
    record((fields) => fields.required(field, decoder)),
    { min: 1, max: LIMITS.elements },
  );
}

/** A rule; undefined if anything in it is wrong. `{}` matches everything (AZ-4). */
export function ruleDecoder(namespace: string): Decoder<Rule> {
  const from = elementsOf("source", sourceDecoder(namespace));
  const to = elementsOf("operation", operationDecoder(namespace));
  const when = list(conditionDecoder(namespace), { min: 1, max: LIMITS.elements });
  return record((fields) => ({
    from: fields.optional("from", from) ?? [],
    to: fields.optional("to", to) ?? [],
    when: fields.optional("when", when)?.flat() ?? [],
    place: fields.cursor.node.place,
  }));
}
