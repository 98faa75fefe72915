/** Registered members in a cluster: WorkloadEntries in the API server, written by the replica to which a member's agent is connected. */
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import type { WorkloadGroupObject } from "../../policy/model.ts";
import { type ApiAnswer, type KubernetesApi, MERGE_PATCH } from "../../sources/kubernetes/api.ts";
import { annotationsOf, conditionOf as conditionIn, HEALTHY, isPlain } from "../../sources/kubernetes/api-objects.ts";
import type { ClusterSource } from "../../sources/kubernetes/cluster-source.ts";
import { Coalesced } from "../../sources/kubernetes/coalesced.ts";
import { CONNECTED_AT, DISCONNECTED_AT, REGISTRATION_GROUP, WORKLOAD_CONTROLLER } from "../../sources/kubernetes/entry-health.ts";
import type { WrittenObject } from "../../sources/kubernetes/found-objects.ts";
import { readConditions } from "../cluster/conditions.ts";
import { conditionOf, entryDocument, type Member, type ReportedHealth } from "./member.ts";
import type { EntryStore } from "./store.ts";

export interface ClusterEntriesOptions {
  readonly api: KubernetesApi;
  readonly source: Pick<ClusterSource, "entries"> & { written(): readonly Pick<WrittenObject, "key" | "path" | "uid">[] };
  /** This one's name. */
  readonly replica: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

type Plain = Readonly<Record<string, unknown>>;

/** Between a look and a write, others write: then it is looked again. */
const ATTEMPTS = 6;
const MARK_MS = 500;

interface Found {
  readonly body: Plain;
  readonly uid: unknown;
  readonly resourceVersion: unknown;
}

function refused({ status, body }: ApiAnswer, path: string): AppError {
  const message = isPlain(body) && typeof body.message === "string" ? `: ${body.message.slice(0, 300)}` : "";
  return new AppError("unavailable", `the API server answers ${status} to ${path}${message}`);
}

export class ClusterEntries implements EntryStore {
  readonly #options: ClusterEntriesOptions;
  /** Whose agents are connected here. */
  readonly #live = new Set<string>();
  readonly #marker: Coalesced;

  constructor(options: ClusterEntriesOptions) {
    this.#options = options;
    const { logger } = options;
    const work = (signal: AbortSignal): Promise<void> => this.#mark(signal);
    this.#marker = new Coalesced({ what: "marking machines whose agents are away", work, logger, intervalMs: MARK_MS });
  }

  /** The cluster's entries may be others. */
  refresh(): void {
    this.#marker.ask();
  }

  async connect(member: Member, group: WorkloadGroupObject): Promise<void> {
    this.#live.add(member.workload);
    const { path, owner } = this.#placeOf(member);
    await this.#again(member, async () => {
      const found = await this.#find(path);
      const document = this.#document(member, group, owner, found);
      const collection = path.slice(0, path.lastIndexOf("/"));
      const [method, to, wanted] = found === undefined ? (["POST", collection, 201] as const) : (["PUT", path, 200] as const);
      return this.#isWritten(await this.#options.api.call(method, to, document), to, wanted);
    });
  }

  async report(member: Member, health: ReportedHealth): Promise<void> {
    const { path } = this.#placeOf(member);
    await this.#again(member, async () => {
      const found = await this.#find(path);
      if (found === undefined) throw new AppError("unavailable", "the machine is registered no more");
      const conditions = this.#conditions(found.body, health);
      if (conditions === undefined) return true;
      const patch = { metadata: { uid: found.uid, resourceVersion: found.resourceVersion }, status: { conditions } };
      return this.#isWritten(await this.#options.api.call("PATCH", `${path}/status`, patch, MERGE_PATCH), path, 200);
    });
  }

  disconnect({ workload }: Member): void {
    this.#live.delete(workload);
    this.refresh();
  }

  async leave(member: Member): Promise<void> {
    this.#live.delete(member.workload);
    const { path } = this.#placeOf(member);
    await this.#again(member, async () => {
      const found = await this.#find(path);
      if (found === undefined || annotationsOf(found.body)[WORKLOAD_CONTROLLER] !== this.#options.replica) return true;
      return removeEntry(this.#options.api, path, found);
    });
  }

  /** The entries stay: their agents are about to connect to another replica, and what is left is swept. */
  close(): Promise<void> {
    return this.#marker.close();
  }

  /** Tries until it is done, and nobody has written in between. */
  async #again(member: Member, attempt: () => Promise<boolean>): Promise<void> {
    for (let count = 0; count < ATTEMPTS; count += 1) if (await attempt()) return;
    throw new AppError("unavailable", `others keep writing the WorkloadEntry \`${member.workload}\``);
  }

  #isWritten(answer: ApiAnswer, path: string, wanted: number): boolean {
    if (answer.status === wanted) return true;
    if (answer.status === 409 || answer.status === 404) return false;
    throw refused(answer, path);
  }

  /** Beside its group, in the version in which that is served. */
  #placeOf({ group, name }: Member): { readonly path: string; readonly owner: Plain } {
    const found = this.#options.source.written().find(({ key }) => key === `WorkloadGroup ${group}`);
    if (found === undefined) throw new AppError("unavailable", `the WorkloadGroup \`${group}\` is not there`);
    const path = found.path.replace(/\/workloadgroups\/[^/]+$/, `/workloadentries/${name}`);
    const [, apiVersion = ""] = /^\/apis\/([^/]+\/[^/]+)\//.exec(path) ?? [];
    const [, groupName] = group.split("/");
    return { path, owner: { apiVersion, kind: "WorkloadGroup", name: groupName, uid: found.uid, controller: true } };
  }

  async #find(path: string): Promise<Found | undefined> {
    const answer = await this.#options.api.call("GET", path);
    if (answer.status === 404) return undefined;
    const { body } = answer;
    if (answer.status !== 200 || !isPlain(body) || !isPlain(body.metadata)) throw refused(answer, path);
    const { uid, resourceVersion } = body.metadata;
    return { body, uid, resourceVersion };
  }

  /** Nothing of an entry's former form stays: what its group said then may hold no more. */
  #document(member: Member, group: WorkloadGroupObject, owner: Plain, found: Found | undefined): Plain {
    const { replica, clock } = this.#options;
    const document = entryDocument(group, member);
    if (found !== undefined && annotationsOf(found.body)[REGISTRATION_GROUP] !== group.meta.name) {
      throw new AppError("already-exists", `there is a WorkloadEntry \`${member.workload}\` already that nobody has registered`);
    }
    const own = { [WORKLOAD_CONTROLLER]: replica, [CONNECTED_AT]: new Date(clock.now()).toISOString() };
    const annotations = { ...document.metadata.annotations, ...own };
    const version = found === undefined ? {} : { resourceVersion: found.resourceVersion, uid: found.uid };
    const metadata = { ...document.metadata, annotations, ...version, ownerReferences: [owner] };
    return { ...document, apiVersion: owner.apiVersion, metadata };
  }

  /** Undefined where that is what they say already. */
  #conditions(body: Plain, health: ReportedHealth): readonly Plain[] | undefined {
    const said = conditionOf(health);
    const known = conditionIn(body, HEALTHY);
    if (known?.status === said.status && known.message === said.message) return undefined;
    const now = new Date(this.#options.clock.now()).toISOString();
    const since = known?.status === said.status ? known.lastTransitionTime : now;
    const others = readConditions(body.status).filter(({ type }) => type !== HEALTHY);
    return [...others, { ...said, lastProbeTime: now, lastTransitionTime: since }] as readonly Plain[];
  }

  /** Entries of ours whose agents are here no more. */
  async #mark(signal: AbortSignal): Promise<void> {
    const { api, source, replica, clock } = this.#options;
    for (const { path, object } of source.entries()) {
      const { namespace, name, resourceVersion } = object.metadata;
      const annotations = annotationsOf(object.body);
      const isOurs = annotations[WORKLOAD_CONTROLLER] === replica && annotations[DISCONNECTED_AT] === undefined;
      if (!isOurs || this.#live.has(`${namespace}/${name}`)) continue;
      if (signal.aborted) return;
      const marked = { [DISCONNECTED_AT]: new Date(clock.now()).toISOString() };
      const answer = await api.call("PATCH", path, { metadata: { resourceVersion, annotations: marked } }, MERGE_PATCH);
      if (!this.#isWritten(answer, path, 200)) this.refresh();
    }
  }
}

/** Takes away just this form of an entry; whether it is gone. Throws `unavailable`. */
export async function removeEntry(api: KubernetesApi, path: string, { uid, resourceVersion }: Omit<Found, "body">): Promise<boolean> {
  const answer = await api.call("DELETE", path, { apiVersion: "v1", kind: "DeleteOptions", preconditions: { uid, resourceVersion } });
  if (answer.status === 200 || answer.status === 202 || answer.status === 404) return true;
  if (answer.status === 409) return false;
  throw refused(answer, path);
}
