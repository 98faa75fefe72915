/** A folder of YAML files as a configuration. */

import { unreadable } from "./file-problem.ts";
import { FileReader } from "./file-reader.ts";
import { type FolderListing, listFolder } from "./folder-listing.ts";
import { applyLastGood } from "./last-good.ts";
import { LIMITS } from "./limits.ts";
import type { ConfigurationSnapshot, FileReading, FolderReading } from "./snapshot.ts";

/** Files that are read at one time. */
const CONCURRENCY = 32;

/** Takes files in order until the documents are too many; the rest says nothing. */
function withinLimit(readings: readonly FileReading[], maxDocuments: number): readonly FileReading[] {
  let documents = 0;
  return readings.map((reading) => {
    documents += reading.documents.length;
    if (documents <= maxDocuments) return reading;
    return unreadable(
      reading.file,
      "GAR0009",
      `the folder has more than ${maxDocuments} documents`,
      "split it between several control planes",
    );
  });
}

export class FolderSource {
  readonly #folder: string;
  readonly #maxDocuments: number;
  readonly #reader = new FileReader();

  constructor(folder: string, maxDocuments: number = LIMITS.documents) {
    this.#folder = folder;
    this.#maxDocuments = maxDocuments;
  }

  /** What the folder says now, and what was looked at. Never throws for what is wrong with the folder or its files. */
  async read(): Promise<{ readonly reading: FolderReading; readonly listing: FolderListing }> {
    const listing = await listFolder(this.#folder);
    const readings: FileReading[] = [];
    for (let start = 0; start < listing.files.length; start += CONCURRENCY) {
      const some = await Promise.all(listing.files.slice(start, start + CONCURRENCY).map((file) => this.#reader.read(file)));
      readings.push(...some.filter((reading) => reading !== undefined));
    }
    this.#reader.keepOnly(new Set(listing.files));
    const files = [...withinLimit(readings, this.#maxDocuments), ...listing.problems];
    return { reading: { files, written: this.#reader.takeWritten() }, listing };
  }
}

/** Reads a folder once. */
export async function readFolder(folder: string): Promise<ConfigurationSnapshot> {
  const { reading } = await new FolderSource(folder).read();
  return applyLastGood(reading);
}
