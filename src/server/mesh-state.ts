/** The one owner of the mesh's state: takes configuration, compiles it, publishes an immutable result. */

import { type CompiledMesh, MeshCompiler } from "../compile/compile.ts";
import { type JwksLookup, NO_REMOTE_KEYS } from "../compile/request-authentication.ts";
import type { Diagnostic } from "../core/diagnostic.ts";
import { formatDiagnostic, severityOf } from "../core/diagnostic.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { once } from "../core/once.ts";
import type { FixedSettings } from "../mesh/mesh-config.ts";
import { checkReferences } from "../mesh/references.ts";
import { meshServices } from "../mesh/registry.ts";
import { type MeshSettings, NOTHING_REVOKED, nextSnapshot, type RevokedCredentials, type SnapshotParts } from "../mesh/snapshot.ts";
import type { MeshObject } from "../policy/model.ts";
import type { SourceStatus } from "../sources/snapshot.ts";
import { UsableObjects } from "./usable-objects.ts";

export interface Configuration {
  readonly objects: readonly MeshObject[];
  readonly diagnostics: readonly Diagnostic[];
  /** What became of each object, where the source tells. */
  readonly statuses?: readonly Pick<SourceStatus, "key" | "state">[];
}

export interface MeshView extends CompiledMesh {
  /** Counts published states from 1. */
  readonly generation: number;
  /** All that is wrong with the configuration: its decoding, its references, its meaning. */
  readonly diagnostics: readonly Diagnostic[];
  /** `Kind NAMESPACE/NAME` of what is in force in its last valid form, since its present one is broken. */
  readonly kept: ReadonlySet<string>;
}

/** From a change to a look at all diagnostics, in milliseconds: a look at a large mesh takes as long as a push, and pushes go first. */
const TELL_MS = 500;
/** The next look is so many times as far away as the last one took, so that a mesh that changes all the time is not looked at all the time. */
const TELL_REST = 20;

/** What of a state does not come from compiling. */
interface Given extends Pick<MeshView, "generation"> {
  readonly kept: () => MeshView["kept"];
  /** What is wrong with the configuration before it is compiled. */
  readonly before: () => readonly Diagnostic[];
}

function viewOf(compiled: CompiledMesh, { generation, kept, before }: Given): MeshView {
  const diagnostics = once(() => [...before(), ...compiled.diagnostics]);
  return {
    generation,
    snapshot: compiled.snapshot,
    policies: compiled.policies,
    knownPolicy: compiled.knownPolicy,
    namesOf: compiled.namesOf,
    get kept() {
      return kept();
    },
    get statuses() {
      return compiled.statuses;
    },
    get diagnostics() {
      return diagnostics();
    },
  };
}

type Listener = (mesh: MeshView) => void;

export class MeshState {
  readonly #settings: MeshSettings;
  readonly #logger: Logger;
  readonly #keysOf: JwksLookup;
  readonly #compiler = new MeshCompiler();
  readonly #revoked: () => RevokedCredentials;
  readonly #federated: () => readonly string[];
  readonly #listeners: Listener[] = [];
  readonly #usable: UsableObjects;
  /** What the last state was made of. */
  #parts: SnapshotParts | undefined;
  #current: MeshView;
  #given: Given = { generation: 0, kept: () => new Set(), before: () => [] };
  #told: ReadonlySet<string> = new Set();
  #telling: NodeJS.Timeout | undefined;
  /** Milliseconds that the last look took. */
  #tellTook = 0;

  /** `keysOf`: the keys of tokens that were fetched by now. `fixed`: what no configuration may change. `revoked` and `federated`: of now. */
  constructor(
    settings: MeshSettings,
    logger: Logger,
    keysOf: JwksLookup = NO_REMOTE_KEYS,
    fixed: FixedSettings = {},
    revoked: () => RevokedCredentials = () => NOTHING_REVOKED,
    federated: () => readonly string[] = () => [],
  ) {
    this.#settings = settings;
    this.#revoked = revoked;
    this.#federated = federated;
    this.#usable = new UsableObjects(settings, fixed);
    this.#logger = logger;
    this.#keysOf = keysOf;
    this.#current = viewOf(this.#compile(), this.#given);
  }

  get current(): MeshView {
    return this.#current;
  }

  /** Listeners are called in the order in which they came, with each new state. */
  onChange(listener: Listener): void {
    this.#listeners.push(listener);
  }

  /** Compiles a configuration and puts it in force. */
  apply(configuration: Configuration): void {
    const { diagnostics: decoded, statuses = [] } = configuration;
    const kept = once(() => new Set(statuses.flatMap(({ key, state }) => (state === "kept" ? [key] : []))));
    const unusable = this.#usable.take(configuration.objects, (key) => kept().has(key));
    const usable = this.#usable.current;
    const compiled = this.#compile();
    const before = once(() => [...decoded, ...unusable, ...checkReferences(compiled.snapshot, usable.objects)]);
    this.#given = { generation: this.#given.generation + 1, kept, before };
    this.#publish(viewOf(compiled, this.#given));
    this.#tellSoon();
  }

  /** After what proxies are sent. While changes keep coming, the newest state speaks for those before it. */
  #tellSoon(): void {
    this.#telling ??= setTimeout(
      () => {
        this.#telling = undefined;
        const began = performance.now();
        try {
          this.#tell(this.#current);
        } catch (error) {
          this.#logger.log("error", "the configuration cannot be judged", { reason: AppError.from(error).message });
        }
        this.#tellTook = performance.now() - began;
      },
      Math.max(TELL_MS, TELL_REST * this.#tellTook),
    ).unref();
  }

  /** The same configuration with what is revoked, and who is federated with, at this moment. */
  refreshTrust(): void {
    this.#publish(viewOf(this.#compile(), this.#given));
  }

  /** Ends the looks at its diagnostics. */
  close(): void {
    clearTimeout(this.#telling);
  }

  #compile(): CompiledMesh {
    const [given, objects] = [this.#settings, this.#usable.current];
    const next = nextSnapshot(given, objects, this.#revoked(), this.#federated(), this.#parts);
    const compiled = this.#compiler.compile(next, this.#keysOf);
    this.#parts = { given, objects, snapshot: compiled.snapshot };
    return compiled;
  }

  /** The same configuration with the keys of this moment. */
  refreshKeys(): void {
    const compiled = this.#compiler.compile(this.#current.snapshot, this.#keysOf);
    this.#publish(viewOf(compiled, this.#given));
  }

  #publish(view: MeshView): void {
    this.#current = view;
    for (const listener of this.#listeners) listener(view);
  }

  /** Each diagnostic is logged once, when it first appears. */
  #tell({ diagnostics, snapshot, generation }: MeshView): void {
    const texts = new Map(diagnostics.map((diagnostic) => [formatDiagnostic(diagnostic), diagnostic]));
    for (const [text, diagnostic] of texts) {
      if (!this.#told.has(text)) this.#logger.log(severityOf(diagnostic) === "error" ? "error" : "warn", text);
    }
    for (const text of this.#told) if (!texts.has(text)) this.#logger.log("info", "configuration mended", { was: text });
    this.#told = new Set(texts.keys());
    this.#logger.log("info", "configuration in force", {
      generation,
      workloads: snapshot.workloads.size,
      services: meshServices(snapshot).length,
      policies: snapshot.authorizationPolicies.length + snapshot.peerAuthentications.length + snapshot.requestAuthentications.length,
      problems: diagnostics.length,
    });
  }
}
