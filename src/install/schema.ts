/** The part of JSON Schema (draft 7) that the chart's `values.schema.json` is written in: whatever else it says is refused. */
import { AppError } from "../core/error.ts";
import { isObject, type Json, type JsonObject } from "./template.ts";

interface Place {
  readonly path: string;
  readonly errors: string[];
  /** Of the value itself. */
  readonly fail: (what: string) => void;
}

type Keyword = (value: Json, wanted: Json, place: Place, schema: JsonObject) => void;

function typeOf(value: Json): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return Number.isInteger(value) ? "integer" : typeof value;
}

function objectOf(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {};
}

/** What is not of the type is told once, by `type`. */
const KEYWORDS: Readonly<Record<string, Keyword>> = {
  $schema: () => {},
  title: () => {},
  type: (value, wanted, { fail }) => {
    if (typeOf(value) !== wanted) fail(`is not of type ${String(wanted)}`);
  },
  enum: (value, wanted, { fail }) => {
    if (Array.isArray(wanted) && !wanted.includes(value)) fail(`is not one of ${wanted.join(", ")}`);
  },
  pattern: (value, wanted, { fail }) => {
    if (typeof value === "string" && !new RegExp(String(wanted)).test(value)) fail(`does not match ${String(wanted)}`);
  },
  maxLength: (value, wanted, { fail }) => {
    if (typeof value === "string" && value.length > Number(wanted)) fail(`is longer than ${Number(wanted)}`);
  },
  minimum: (value, wanted, { fail }) => {
    if (typeof value === "number" && value < Number(wanted)) fail(`is less than ${Number(wanted)}`);
  },
  maximum: (value, wanted, { fail }) => {
    if (typeof value === "number" && value > Number(wanted)) fail(`is more than ${Number(wanted)}`);
  },
  items: (value, wanted, { path, errors }) => {
    if (Array.isArray(value)) for (const [index, item] of value.entries()) check(item, wanted, `${path}[${index}]`, errors);
  },
  maxItems: (value, wanted, { fail }) => {
    if (Array.isArray(value) && value.length > Number(wanted)) fail(`has more than ${Number(wanted)} items`);
  },
  uniqueItems: (value, wanted, { fail }) => {
    if (wanted === true && Array.isArray(value) && new Set(value.map((item) => JSON.stringify(item))).size < value.length)
      fail("has an item twice");
  },
  required: (value, wanted, { path, errors }) => {
    if (!isObject(value) || !Array.isArray(wanted)) return;
    for (const key of wanted) if (!Object.hasOwn(value, String(key))) errors.push(`has no \`${[path, key].filter(Boolean).join(".")}\``);
  },
  properties: (value, wanted, { path, errors }) => {
    if (!isObject(value) || !isObject(wanted)) return;
    for (const [key, schema] of Object.entries(wanted))
      if (Object.hasOwn(value, key)) check(value[key] ?? null, schema, [path, key].filter(Boolean).join("."), errors);
  },
  additionalProperties: (value, wanted, { path, errors }, schema) => {
    const known = objectOf(schema.properties);
    for (const [key, entry] of Object.entries(objectOf(value)).filter(([name]) => !Object.hasOwn(known, name))) {
      const at = [path, key].filter(Boolean).join(".");
      if (wanted === false) errors.push(`has an unknown value \`${at}\``);
      else check(entry, wanted, at, errors);
    }
  },
};

function check(value: Json, schema: Json, path: string, errors: string[]): void {
  const place: Place = { path, errors, fail: (what) => void errors.push(`\`${path}\` ${what}`) };
  for (const [keyword, wanted] of Object.entries(objectOf(schema))) {
    const holdsTo = Object.hasOwn(KEYWORDS, keyword) ? KEYWORDS[keyword] : undefined;
    if (holdsTo === undefined) throw new AppError("unsupported", `the schema's keyword \`${keyword}\` is not understood`, { where: path });
    holdsTo(value, wanted, place, objectOf(schema));
  }
}

/** All that is wrong with a value, each a phrase; nothing where it is as the schema says. Throws `unsupported` for a schema of more than that. */
export function schemaErrors(value: Json, schema: Json): readonly string[] {
  const errors: string[] = [];
  check(value, schema, "", errors);
  return errors;
}
