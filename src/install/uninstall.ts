/** An installation taken away: by its label, the webhooks first, so that nobody asks a control plane that is gone. */
import { AppError } from "../core/error.ts";
import type { KubernetesApi } from "../sources/kubernetes/api.ts";
import { refusal } from "./apply.ts";
import type { ChartName, Manifest } from "./chart.ts";
import {
  CHART_LABEL,
  CRD,
  collectionUrl,
  helmRelease,
  type InstalledKind,
  isKept,
  KINDS_OF,
  NAMESPACE,
  nameOf,
  objectUrl,
} from "./kinds.ts";
import { isObject } from "./template.ts";

export interface UninstallOptions {
  readonly api: KubernetesApi;
  readonly chart: ChartName;
  readonly dryRun: boolean;
  /** Take our schemas away too, and every object of their kinds with them. */
  readonly schemas: boolean;
  readonly report: (manifest: Manifest, outcome: "deleted" | "kept") => void;
}

interface Found {
  readonly of: InstalledKind;
  readonly manifest: Manifest;
}

type Where = Pick<UninstallOptions, "api" | "chart">;

async function find({ api, chart }: Where, of: InstalledKind): Promise<readonly Found[]> {
  const answer = await api.call("GET", `${collectionUrl(of)}?labelSelector=${encodeURIComponent(`${CHART_LABEL}=${chart}`)}`);
  if (answer.status === 404) return [];
  if (answer.status !== 200) throw refusal(answer, of.resource);
  const items = isObject(answer.body) && Array.isArray(answer.body.items) ? (answer.body.items as readonly Manifest[]) : [];
  // Items of a list come without their kind.
  return items.map((item) => ({ of, manifest: { ...item, apiVersion: of.apiVersion, kind: of.kind } }));
}

/** What the cluster has of an installation, the last made first. Throws `already-exists` where it is Helm's, `permission-denied`. */
async function findAll(where: Where): Promise<readonly Found[]> {
  const kinds = KINDS_OF[where.chart].toReversed();
  const found = (await Promise.all(kinds.map((kind) => find(where, kind)))).flat();
  const helms = found.find(({ manifest }) => helmRelease(manifest) !== undefined);
  if (helms === undefined) return found;
  const help = `remove it with \`helm uninstall ${helmRelease(helms.manifest)}\``;
  throw new AppError("already-exists", "Helm installed it", { where: nameOf(helms.manifest), help });
}

async function remove(api: KubernetesApi, { of, manifest }: Found, dryRun: boolean): Promise<void> {
  const query = `propagationPolicy=Background${dryRun ? "&dryRun=All" : ""}`;
  const answer = await api.call("DELETE", `${objectUrl(of, manifest.metadata)}?${query}`);
  if (answer.status !== 404 && answer.status >= 300) throw refusal(answer, nameOf(manifest));
}

/** Removes what has the label and says nothing else; returns how many objects there were. Throws `already-exists` for an installation of Helm's, `permission-denied`. */
export async function uninstall({ api, chart, dryRun, schemas, report }: UninstallOptions): Promise<number> {
  const found = await findAll({ api, chart });
  const definitions = await find({ api, chart }, CRD);
  for (const each of [...found, ...definitions]) {
    const kept = isKept(each.manifest) || (each.of === CRD && !schemas);
    if (!kept) await remove(api, each, dryRun);
    report(each.manifest, kept ? "kept" : "deleted");
  }
  return found.length + definitions.length;
}

/** Removes what an installation had with other values and has no more, so that no right outlives its use; namespaces stay. Throws as `uninstall` does. */
export async function prune(
  { api, chart, dryRun, report }: Omit<UninstallOptions, "schemas">,
  installed: readonly Manifest[],
): Promise<void> {
  const names = new Set(installed.map(nameOf));
  for (const each of await findAll({ api, chart })) {
    if (each.of === NAMESPACE || names.has(nameOf(each.manifest))) continue;
    await remove(api, each, dryRun);
    report(each.manifest, "deleted");
  }
}
