/** How much a folder may hold. */
export const LIMITS = {
  /** Bytes of one file. */
  file: 4 * 1024 * 1024,
  /** YAML files of a folder, those of its subfolders included. */
  files: 10_000,
  /** Folders, each of which is watched. */
  folders: 1000,
  /** Documents of all files. */
  documents: 100_000,
} as const;
