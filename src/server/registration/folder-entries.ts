/** Registered members without a cluster: kept by the control plane, in its state folder, and put beside what the configuration says. */
import { join } from "node:path";
import { readPrivateFile, replacePrivateFile } from "../../ca/state-files.ts";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import { type MeshObject, objectKey, type WorkloadEntryObject, type WorkloadGroupObject } from "../../policy/model.ts";
import type { Configuration } from "../mesh-state.ts";
import { canonicalAddress, type Member, memberOf, type ReportedHealth, registeredEntry } from "./member.ts";
import type { EntryStore } from "./store.ts";

export interface FolderEntriesOptions {
  /** The state folder. */
  readonly folder: string;
  /** How long a member stays whose agent is away, in milliseconds. */
  readonly graceMs: number;
  /** Puts a configuration in force. */
  readonly apply: (configuration: Configuration) => void;
  readonly logger: Logger;
}

interface Kept {
  readonly group: string;
  readonly address: string;
  health: ReportedHealth | undefined;
  /** While its agent is away. */
  leaving: NodeJS.Timeout | undefined;
  /** What was made of it last. */
  made:
    | { readonly group: WorkloadGroupObject; readonly health: ReportedHealth | undefined; readonly entry: WorkloadEntryObject }
    | undefined;
}

const FILE = "registrations.json";
const MAX_BYTES = 8 * 1024 * 1024;
const MAX_MEMBERS = 10_000;
const SAVE_MS = 200;

type Saved = Pick<Kept, "group" | "address" | "health">;

function isSaved(value: unknown): value is Saved {
  const { group, address, health } = typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
  if (typeof group !== "string" || typeof address !== "string" || canonicalAddress(address) !== address) return false;
  if (health === undefined) return true;
  const { healthy, detail } = health as Readonly<Record<string, unknown>>;
  return typeof healthy === "boolean" && typeof detail === "string";
}

/** What was registered when the control plane ended. Throws `invalid-configuration` for a file that is none. */
function readSaved(path: string): readonly Saved[] {
  const text = readPrivateFile(path, MAX_BYTES);
  if (text === undefined) return [];
  try {
    const value: unknown = JSON.parse(text);
    if (Array.isArray(value) && value.length <= MAX_MEMBERS && value.every(isSaved)) return value;
  } catch {
    // Said below.
  }
  throw new AppError("invalid-configuration", `\`${path}\` is not a list of registered machines`, {
    help: "move it away: the machines that live register again",
  });
}

export class FolderEntries implements EntryStore {
  readonly #options: FolderEntriesOptions;
  readonly #path: string;
  /** By group and address. */
  readonly #kept = new Map<string, Kept>();
  #given: Configuration | undefined;
  #saving: NodeJS.Timeout | undefined;
  #applying: NodeJS.Immediate | undefined;

  /** Throws `unsafe-permissions` and `invalid-configuration` as to its file. */
  constructor(options: FolderEntriesOptions) {
    this.#options = options;
    this.#path = join(options.folder, FILE);
    for (const { group, address, health } of readSaved(this.#path)) {
      const kept: Kept = { group, address, health, leaving: undefined, made: undefined };
      this.#kept.set(keyOf(kept), kept);
      this.#expect(kept);
    }
  }

  /** Takes in what the source says, and puts it in force with the members. */
  apply(configuration: Configuration): void {
    this.#given = configuration;
    this.#options.apply({ ...configuration, objects: this.#with(configuration.objects) });
  }

  async connect(member: Member, group: WorkloadGroupObject): Promise<void> {
    registeredEntry(group, member, undefined);
    const key = keyOf(member);
    const known = this.#kept.get(key);
    if (known === undefined && this.#kept.size >= MAX_MEMBERS)
      throw new AppError("resource-exhausted", `${MAX_MEMBERS} machines are registered already`);
    clearTimeout(known?.leaving);
    if (known !== undefined) {
      known.leaving = undefined;
      return;
    }
    const { group: name, address } = member;
    this.#kept.set(key, { group: name, address, health: undefined, leaving: undefined, made: undefined });
    this.#changed();
  }

  async report(member: Member, health: ReportedHealth): Promise<void> {
    const kept = this.#kept.get(keyOf(member));
    if (kept === undefined) throw new AppError("unavailable", "the machine is registered no more");
    kept.health = health;
    this.#changed();
  }

  disconnect(member: Member): void {
    const kept = this.#kept.get(keyOf(member));
    if (kept !== undefined) this.#expect(kept);
  }

  async leave(member: Member): Promise<void> {
    this.#remove(keyOf(member));
  }

  async close(): Promise<void> {
    for (const { leaving } of this.#kept.values()) clearTimeout(leaving);
    clearImmediate(this.#applying);
    if (this.#saving === undefined) return;
    clearTimeout(this.#saving);
    this.#save();
  }

  /** Waits for its agent. */
  #expect(kept: Kept): void {
    const { graceMs, logger } = this.#options;
    clearTimeout(kept.leaving);
    kept.leaving = setTimeout(() => {
      logger.log("info", "a machine did not come back, and is taken away", { group: kept.group, address: kept.address });
      this.#remove(keyOf(kept));
    }, graceMs).unref();
  }

  #remove(key: string): void {
    const kept = this.#kept.get(key);
    if (kept === undefined) return;
    clearTimeout(kept.leaving);
    this.#kept.delete(key);
    this.#changed();
  }

  #changed(): void {
    this.#saving ??= setTimeout(() => {
      this.#saving = undefined;
      this.#save();
    }, SAVE_MS).unref();
    // Of many that come together, all at once: each time is a look at the whole mesh.
    this.#applying ??= setImmediate(() => {
      this.#applying = undefined;
      if (this.#given !== undefined) this.apply(this.#given);
    });
  }

  #save(): void {
    const saved = [...this.#kept.values()].map(({ group, address, health }): Saved => ({ group, address, health }));
    try {
      replacePrivateFile(this.#path, JSON.stringify(saved));
    } catch (thrown) {
      const { message } = AppError.from(thrown);
      this.#options.logger.log("error", "registered machines are not kept over a restart", { reason: message });
    }
  }

  /** The members whose groups are there. What somebody wrote stands before what was registered. */
  #with(objects: readonly MeshObject[]): readonly MeshObject[] {
    if (this.#kept.size === 0) return objects;
    const groups = new Map(
      objects.flatMap((object) => (object.kind === "WorkloadGroup" ? [[`${object.meta.namespace}/${object.meta.name}`, object]] : [])),
    );
    const written = new Set(objects.flatMap((object) => (object.kind === "WorkloadEntry" ? [objectKey(object)] : [])));
    const entries = [...this.#kept.values()].flatMap((kept) => {
      const entry = this.#entryOf(kept, groups.get(kept.group));
      return entry === undefined || written.has(objectKey(entry)) ? [] : [entry];
    });
    return [...objects, ...entries];
  }

  /** The same object for as long as it says the same. */
  #entryOf(kept: Kept, group: WorkloadGroupObject | undefined): WorkloadEntryObject | undefined {
    if (group === undefined) return undefined;
    const { health, made } = kept;
    if (made?.group === group && made.health === health) return made.entry;
    try {
      const entry = registeredEntry(group, memberOf(group, kept.address), health);
      kept.made = { group, health, entry };
      return entry;
    } catch (thrown) {
      const { message } = AppError.from(thrown);
      this.#options.logger.log("error", "a registered machine is not in force", {
        group: kept.group,
        address: kept.address,
        reason: message,
      });
      return undefined;
    }
  }
}

function keyOf({ group, address }: Pick<Kept, "group" | "address">): string {
  return `${group} ${address}`;
}
