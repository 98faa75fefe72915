/** What a configuration source yields. */
import type { Diagnostic, Place } from "../core/diagnostic.ts";
import type { DecodedObject } from "../policy/decode/decode.ts";
import type { MeshObject } from "../policy/model.ts";

/**
 * What became of one object.
 * - `current`: what its file says is in force.
 * - `kept`: what its file says is invalid, or cannot be read; its last valid form is in force.
 * - `closed`: it was never valid; a policy that lets nothing through is in force in its place.
 * - `refused`: it was never valid; nothing is in force.
 * - `leaving`: it is in no file any more; it is in force until that is certain.
 */
export type ObjectState = "current" | "kept" | "closed" | "refused" | "leaving";

export interface SourceStatus {
  /** `Kind NAMESPACE/NAME`, unique in a snapshot. */
  readonly key: string;
  readonly state: ObjectState;
  /** What is in force; undefined only for `refused`. */
  readonly object: MeshObject | undefined;
  /** Where it is written, or was last. */
  readonly place: Place;
  /** For `leaving`: when it was first missed, on the clock of whoever asked. */
  readonly missedAt: number | undefined;
}

/** A configuration at one moment. Each object's identity (kind, namespace, name) is unique. */
export interface ConfigurationSnapshot {
  /** What is in force, sorted by key. */
  readonly objects: readonly MeshObject[];
  /** All that is wrong, by file and place; each error says what holds until it is mended. */
  readonly diagnostics: readonly Diagnostic[];
  /** One for each object, sorted by key. */
  readonly statuses: readonly SourceStatus[];
  /** Of these diagnostics, those of documents that may be policies and do not tell which: they can be neither enforced nor closed. */
  readonly hidden: readonly Diagnostic[];
}

/** One document of a file, decoded. */
export interface DecodedDocument extends DecodedObject {
  readonly place: Place;
}

/** What one file says. A file that is not `readable` says nothing, so that nothing that it said before is withdrawn. */
export interface FileReading {
  readonly file: string;
  readonly readable: boolean;
  readonly documents: readonly DecodedDocument[];
  /** What is wrong with the file as a whole. */
  readonly diagnostics: readonly Diagnostic[];
}

/** What all files of a folder say, sorted by name. A folder that cannot be listed stands among them as an unreadable file. */
export interface FolderReading {
  readonly files: readonly FileReading[];
  /** Files that were written since the last reading; whoever writes may not be done. */
  readonly written?: ReadonlySet<string>;
}
