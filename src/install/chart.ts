/** The charts (`deploy/helm`), rendered here as Helm would: what is installed has one source. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseAllDocuments, parse as parseYaml } from "yaml";
import { AppError } from "../core/error.ts";
import { schemaErrors } from "./schema.ts";
import { isObject, type Json, type JsonObject, renderTemplate } from "./template.ts";

const CHARTS = fileURLToPath(new URL("../../deploy/helm/", import.meta.url));
const MAX_VALUES_BYTES = 1024 * 1024;

/** `garrison` is a control plane; `garrison-remote` is what a cluster has whose control plane is in another one. */
export type ChartName = "garrison" | "garrison-remote";

/** An object for the API server. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

export interface Chart {
  /** The text of each template, with its comments, by the name of its file. */
  readonly texts: ReadonlyMap<string, string>;
  readonly objects: readonly Manifest[];
}

function read(chart: ChartName, ...path: readonly string[]): string {
  return readFileSync(join(CHARTS, chart, ...path), "utf8");
}

function yamlFiles(chart: ChartName, folder: string): readonly string[] {
  return readdirSync(join(CHARTS, chart, folder))
    .filter((name) => name.endsWith(".yaml"))
    .sort();
}

function manifestsOf(text: string): readonly Manifest[] {
  return parseAllDocuments(text)
    .map((document) => document.toJS() as Manifest | null)
    .filter((object) => object !== null);
}

/** As Helm does: objects by key, everything else as a whole, and null takes away a value that is there. */
function merge(base: JsonObject, over: JsonObject): JsonObject {
  const merged = new Map(Object.entries(base));
  for (const [key, value] of Object.entries(over)) {
    const before = merged.get(key);
    if (value === null && before !== undefined) merged.delete(key);
    else merged.set(key, isObject(value) && isObject(before) ? merge(before, value) : value);
  }
  return Object.fromEntries(merged);
}

/** The values of a file. Throws `not-found`, `invalid-configuration`. */
export function readValues(file: string): JsonObject {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new AppError("not-found", "the file cannot be read", { where: file, cause });
  }
  if (text.length > MAX_VALUES_BYTES) throw new AppError("resource-exhausted", "the file is too long for values", { where: file });
  let value: unknown;
  try {
    value = parseYaml(text, { maxAliasCount: 100 }) ?? {};
  } catch (cause) {
    throw new AppError("invalid-configuration", `the file is not YAML: ${cause instanceof Error ? cause.message : ""}`, {
      where: file,
      cause,
    });
  }
  if (!isObject(value)) throw new AppError("invalid-configuration", "the file holds no values by their names", { where: file });
  return value;
}

/** The chart's values with others over them, the last first in rank. Throws `invalid-configuration` for what its schema refuses. */
function chartValues(chart: ChartName, over: readonly JsonObject[]): JsonObject {
  const values = over.reduce(merge, parseYaml(read(chart, "values.yaml")) as JsonObject);
  const errors = schemaErrors(values, JSON.parse(read(chart, "values.schema.json")) as Json);
  if (errors.length === 0) return values;
  const help = `see deploy/helm/${chart}/values.yaml`;
  throw new AppError("invalid-configuration", `the values are not as the chart wants them: ${errors.slice(0, 10).join("; ")}`, { help });
}

/** A chart's objects for a namespace. Throws as `chartValues` does. */
export function renderChart(chart: ChartName, namespace: string, over: readonly JsonObject[] = []): Chart {
  const data: JsonObject = { Values: chartValues(chart, over), Release: { Namespace: namespace } };
  const texts = new Map(yamlFiles(chart, "templates").map((name) => [name, renderTemplate(read(chart, "templates", name), data, name)]));
  return { texts, objects: [...texts.values()].flatMap(manifestsOf) };
}

/** The schemas of Istio's kinds. */
export function customResourceDefinitions(): readonly Manifest[] {
  return yamlFiles("garrison", "crds").flatMap((name) => manifestsOf(read("garrison", "crds", name)));
}
