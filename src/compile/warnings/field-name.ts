/** What a user calls the field that a clause stands in. */
import { attributeRow } from "../../policy/attributes.ts";
import type { Clause } from "../../policy/model.ts";

/** Such as `paths` or `notPaths`; a condition of `when` by the field of the same meaning, where there is one. */
export function fieldName({ attribute, argument, negated }: Pick<Clause, "attribute" | "argument" | "negated">): string {
  const row = attributeRow(attribute);
  const field = row.source ?? row.operation;
  if (field === undefined) return (row.when ?? attribute).replace("…", argument);
  return negated ? `not${field.slice(0, 1).toUpperCase()}${field.slice(1)}` : field;
}
