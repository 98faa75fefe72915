/** The whole of an installation, put into a cluster in an order in which nothing waits for what comes later. */

import { type ApplyOptions, applyObject, type Outcome } from "./apply.ts";
import { customResourceDefinitions, type Manifest, renderChart } from "./chart.ts";
import { CHART_LABEL, INSTALLED_KINDS, kindOf, NAMESPACE, nameOf } from "./kinds.ts";
import { isServed } from "./readiness.ts";
import type { JsonObject } from "./template.ts";
import { prune } from "./uninstall.ts";
import { until } from "./wait.ts";

/** All objects but the schemas, in the order in which they are applied: the chart's, and the namespace that Helm would make by itself. */
export function installedObjects(namespace: string, values: readonly JsonObject[]): readonly Manifest[] {
  const labels = { [CHART_LABEL]: "garrison", "istio-injection": "disabled" };
  const home: Manifest = { apiVersion: NAMESPACE.apiVersion, kind: NAMESPACE.kind, metadata: { name: namespace, labels } };
  const { objects } = renderChart("garrison", namespace, values);
  const isHome = ({ kind, metadata }: Manifest): boolean => kind === NAMESPACE.kind && metadata.name === namespace;
  const rank = (manifest: Manifest): number => INSTALLED_KINDS.indexOf(kindOf(manifest));
  return [...(objects.some(isHome) ? [] : [home]), ...objects].sort((a, b) => rank(a) - rank(b));
}

export interface InstallOptions extends ApplyOptions {
  readonly namespace: string;
  readonly values: readonly JsonObject[];
  /** Told of each object. */
  readonly report: (manifest: Manifest, outcome: Outcome | "deleted") => void;
  readonly signal: AbortSignal;
}

/** Applies one; in a dry run, what is in a namespace that is not there yet cannot be asked about, and would be created. */
async function applyInto(options: InstallOptions, created: ReadonlySet<string>, manifest: Manifest): Promise<Outcome> {
  const { namespace } = manifest.metadata;
  if (options.dryRun && namespace !== undefined && created.has(namespace)) return "created";
  return applyObject(options, manifest);
}

/**
 * Applies the schemas, waits until they are served, then everything else, and removes what it had before with other values. Doing it again changes nothing that is as it should be.
 * Throws as `applyObject` does, and `deadline-exceeded`.
 */
export async function install(options: InstallOptions): Promise<void> {
  const { api, namespace, values, report, dryRun, signal } = options;
  const objects = installedObjects(namespace, values);
  const schemas = customResourceDefinitions();
  for (const manifest of schemas) report(manifest, await applyObject(options, manifest));
  if (!dryRun) for (const manifest of schemas) await until(`${nameOf(manifest)} is served`, () => isServed(api, manifest), signal);
  const created = new Set<string>();
  for (const manifest of objects) {
    const outcome = await applyInto(options, created, manifest);
    if (manifest.kind === NAMESPACE.kind && outcome === "created") created.add(manifest.metadata.name);
    report(manifest, outcome);
  }
  await prune({ ...options, chart: "garrison" }, objects);
}
