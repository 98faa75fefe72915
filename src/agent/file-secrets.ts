/**
 * Certificates and roots from files, for the proxy: `file-cert:CERT~KEY` and `file-root:CA` (AG-2, AG-7), from the folders that
 * the operator allowed, and again when they change, by whatever way: rewritten, renamed over, or by a link that is swapped as
 * Kubernetes swaps `..data`.
 */
import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { closeSync, constants, type FSWatcher, fstatSync, openSync, readFileSync, realpathSync, watch } from "node:fs";
import { dirname, isAbsolute, normalize, resolve, sep } from "node:path";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { encodeKeyAndChain, encodeTrustedRoots, type NamedSecret } from "./sds-messages.ts";
import type { Timers } from "./timers.ts";

export interface FileSecretsOptions {
  /** Nothing outside of these is read, through links neither. */
  readonly folders: readonly string[];
  readonly timers: Timers;
  readonly logger: Logger;
}

interface Files {
  readonly paths: readonly string[];
  /** Throws what is wrong with the texts. */
  readonly make: (name: string, texts: readonly string[]) => NamedSecret;
}

interface Entry extends Files {
  secret: NamedSecret;
  /** Why the files of now are not used. */
  flaw: string | undefined;
}

const MAX_SECRETS = 32;
const MAX_BYTES = 256 * 1024;
/** Writers of several files take a moment (Istio's FILE_DEBOUNCE_DURATION). */
const SETTLE_MS = 100;
/** What the system's notices pass by, such as a link further up that is swapped, is seen by then. */
const LOOK_AGAIN_MS = 5_000;
const CERTIFICATES = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/** Whether the name means files. */
export function isFileSecret(name: string): boolean {
  return name.startsWith("file-cert:") || name.startsWith("file-root:");
}

const versionOf = (text: string) => createHash("sha256").update(text).digest("hex").slice(0, 16);

/** Every certificate of a PEM text; at least one. */
function certificatesOf(text: string): readonly X509Certificate[] {
  const found = text.match(CERTIFICATES)?.map((pem) => new X509Certificate(pem)) ?? [];
  if (found.length === 0) throw new AppError("invalid-argument", "it has no certificate");
  return found;
}

function makeCertificate(name: string, [chain = "", key = ""]: readonly string[]): NamedSecret {
  const [leaf] = certificatesOf(chain);
  if (leaf?.checkPrivateKey(createPrivateKey(key)) !== true) throw new AppError("invalid-argument", "the key is not the certificate's");
  return { name, version: versionOf(chain), body: encodeKeyAndChain(name, chain, key) };
}

function makeRoots(name: string, [roots = ""]: readonly string[]): NamedSecret {
  certificatesOf(roots);
  return { name, version: versionOf(roots), body: encodeTrustedRoots(name, roots) };
}

function parseName(name: string): Files {
  const [certificate = "", key = "", ...more] = name.startsWith("file-cert:") ? name.slice("file-cert:".length).split("~") : [];
  if (certificate !== "" && key !== "" && more.length === 0) return { paths: [certificate, key], make: makeCertificate };
  const root = name.startsWith("file-root:") ? name.slice("file-root:".length) : "";
  if (isAbsolute(root)) return { paths: [root], make: makeRoots };
  throw new AppError("not-found", `\`${name.slice(0, 300)}\` names no files`, {
    help: "write it as `file-cert:/CERT~/KEY` or `file-root:/CA`; the system's roots are not served",
  });
}

const isWithin = (path: string, folder: string) => path.startsWith(folder.endsWith(sep) ? folder : folder + sep);

export class FileSecrets {
  readonly #options: FileSecretsOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #watchers = new Map<string, FSWatcher>();
  readonly #listeners = new Set<() => void>();
  #cancelSettle = () => {};
  #cancelLook = () => {};

  constructor(options: FileSecretsOptions) {
    this.#options = { ...options, folders: options.folders.map((folder) => resolve(folder)) };
  }

  /** The secret of a name that was opened. */
  get(name: string): NamedSecret | undefined {
    return this.#entries.get(name)?.secret;
  }

  /** Told of each change. */
  subscribe(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Reads the files of a name and follows them from then on. Throws `permission-denied` for what is not allowed, `not-found` and `invalid-argument` for what cannot be used. */
  open(name: string): void {
    if (this.#entries.has(name)) return;
    if (this.#entries.size >= MAX_SECRETS)
      throw new AppError("resource-exhausted", `${MAX_SECRETS} secrets of files are open, and no more are allowed`);
    const files = parseName(name);
    for (const path of files.paths) this.#checkAllowed(path);
    this.#entries.set(name, { ...files, secret: this.#read(name, files), flaw: undefined });
    for (const path of files.paths) this.#watch(dirname(path));
    if (this.#entries.size === 1) this.#lookLater();
  }

  close(): void {
    this.#cancelSettle();
    this.#cancelLook();
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #checkAllowed(path: string): void {
    const { folders } = this.#options;
    if (isAbsolute(path) && normalize(path) === path && folders.some((folder) => isWithin(path, folder))) return;
    throw new AppError("permission-denied", `the file \`${path.slice(0, 300)}\` is in no folder that the agent may serve`, {
      help: `it may serve ${folders.map((folder) => `\`${folder}\``).join(", ")} (--sds-files)`,
    });
  }

  #read(name: string, { paths, make }: Files): NamedSecret {
    const texts = paths.map((path) => this.#readFile(path));
    try {
      return make(name, texts);
    } catch (cause) {
      // A parser's words may quote a key.
      const why = cause instanceof AppError ? cause.message : "it cannot be parsed";
      throw new AppError("invalid-argument", `\`${paths.join("` and `")}\` cannot be used: ${why}`);
    }
  }

  #readFile(path: string): string {
    let file: number;
    try {
      const real = realpathSync(path);
      const folders = this.#options.folders.map((folder) => realpathSync(folder));
      if (!folders.some((folder) => isWithin(real, folder)))
        throw new AppError("permission-denied", `\`${path}\` leads out of the folders that the agent may serve`);
      // A pipe of that name would hold up the whole agent until somebody writes to it.
      file = openSync(real, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (cause) {
      throw cause instanceof AppError ? cause : new AppError("not-found", `\`${path}\` cannot be read`, { cause });
    }
    try {
      const stat = fstatSync(file);
      if (!stat.isFile() || stat.size > MAX_BYTES)
        throw new AppError("invalid-argument", `\`${path}\` is not a file of at most ${MAX_BYTES} bytes`);
      return readFileSync(file, "utf8");
    } finally {
      closeSync(file);
    }
  }

  #watch(folder: string): void {
    if (this.#watchers.has(folder)) return;
    try {
      const watcher = watch(folder, { persistent: false }, () => this.#settle());
      watcher.on("error", () => undefined);
      this.#watchers.set(folder, watcher);
    } catch (thrown) {
      const error = AppError.from(thrown).message;
      this.#options.logger.log("warn", "changes of files are looked for every few seconds only", { folder, error });
    }
  }

  #settle(): void {
    this.#cancelSettle();
    this.#cancelSettle = this.#options.timers.after(SETTLE_MS, () => this.#look());
  }

  #lookLater(): void {
    this.#cancelLook = this.#options.timers.after(LOOK_AGAIN_MS, () => {
      this.#look();
      this.#lookLater();
    });
  }

  /** Takes in what has changed; files that cannot be used leave the last good ones in force, which is told once. */
  #look(): void {
    let changed = false;
    for (const [name, entry] of this.#entries) {
      try {
        const secret = this.#read(name, entry);
        entry.flaw = undefined;
        if (secret.version === entry.secret.version) continue;
        entry.secret = secret;
        changed = true;
        this.#options.logger.log("info", "a certificate of a file has changed", { secret: name, version: secret.version });
      } catch (thrown) {
        const { message } = AppError.from(thrown);
        if (entry.flaw !== message)
          this.#options.logger.log("warn", "changed files are not used, and the last good ones stay", { secret: name, error: message });
        entry.flaw = message;
      }
    }
    if (changed) for (const listener of this.#listeners) listener();
  }
}
