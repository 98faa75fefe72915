/** The operator's own CA, followed while its files change (CA-13): a set that does not hold together leaves the last good one in force. */
import { type FSWatcher, watch } from "node:fs";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { Signer } from "../x509/signer.ts";
import { type CaSource, type Certification, certificationOf } from "./ca-source.ts";
import { type PluggedFiles, parsePluggedFiles, readPluggedFiles } from "./plugged-files.ts";
import { areAmong, makeSigningSet, type SigningSet } from "./signing-set.ts";

export interface PluggedCaOptions {
  readonly folder: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The CA's key where it is in no file. */
  readonly signer?: Signer;
}

/** A set of files is written one by one: it is read when this long nothing has changed. */
const SETTLE_MS = 100;
/** Between two looks that nothing asked for: links out of the folder, file systems that tell nothing. */
const POLL_MS = 5000;

function signingSetOf(files: PluggedFiles, signer: Signer | undefined, now: number): SigningSet {
  try {
    return makeSigningSet(parsePluggedFiles(files, signer), now);
  } catch (thrown) {
    const error = AppError.from(thrown);
    throw error.where === undefined ? new AppError(error.code, error.message, { where: files.folder, cause: error }) : error;
  }
}

/**
 * Workloads learn of roots when they renew their certificates, so trust changes in steps: first a root is added, later it signs, and later still
 * the old one is taken away. Throws `invalid-configuration` for a set that skips a step, which would cut workloads off.
 */
function checkSuccession(before: SigningSet, after: SigningSet): void {
  if (!areAmong(before.roots, after.roots) && !areAmong(after.roots, before.roots)) {
    throw new AppError("invalid-configuration", "the new roots neither keep all of the old ones nor are all among them", {
      help: "add the new root beside the old one first; take the old one away when every workload has a certificate of the new one",
    });
  }
  if (!areAmong([after.root], before.roots)) {
    throw new AppError("invalid-configuration", "the CA's new certificate leads to a root that no workload trusts yet", {
      help: "add the root beside the old one first, and bring the new certificate and key when every workload has renewed its certificate",
    });
  }
}

export class PluggedCa implements CaSource {
  readonly #options: PluggedCaOptions;
  readonly #watcher: FSWatcher;
  readonly #poll: NodeJS.Timeout;
  #settling: NodeJS.Timeout | undefined;
  #files: string;
  #set: SigningSet;
  #current: Certification;
  readonly #followers: ((current: Certification) => void)[] = [];
  #problem: string | undefined;

  /** Reads the folder and follows it. Throws `invalid-configuration` and `unsafe-permissions` as to what it holds now. */
  constructor(options: PluggedCaOptions) {
    this.#options = options;
    const files = readPluggedFiles(options.folder, options.signer !== undefined);
    this.#files = JSON.stringify(files.texts);
    this.#set = signingSetOf(files, options.signer, options.clock.now());
    this.#current = certificationOf(this.#set);
    this.#watcher = watch(options.folder, { persistent: false }, () => this.#changed());
    this.#watcher.on("error", () => undefined);
    this.#poll = setInterval(() => this.#reload(), POLL_MS).unref();
  }

  /** The folder. */
  get name(): string {
    return this.#options.folder;
  }

  /** What is in force. */
  get current(): Certification {
    return this.#current;
  }

  follow(listener: (current: Certification) => void): void {
    this.#followers.push(listener);
  }

  /** Why the files of this moment are not what is in force; undefined when they are. */
  get problem(): string | undefined {
    return this.#problem === undefined ? undefined : `the newest files are not taken: ${this.#problem}`;
  }

  close(): void {
    clearInterval(this.#poll);
    clearTimeout(this.#settling);
    this.#watcher.close();
  }

  #changed(): void {
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#reload(), SETTLE_MS).unref();
  }

  #reload(): void {
    const { folder, clock, logger, signer } = this.#options;
    try {
      const files = readPluggedFiles(folder, signer !== undefined);
      const texts = JSON.stringify(files.texts);
      if (texts !== this.#files) this.#adopt(texts, signingSetOf(files, signer, clock.now()));
      this.#problem = undefined;
    } catch (thrown) {
      const { message, where = folder, help } = AppError.from(thrown);
      const problem = `${message} (${where})`;
      if (problem !== this.#problem)
        logger.log("error", "the CA's files changed and are not taken: the old set stays", { reason: problem, help: help ?? "" });
      this.#problem = problem;
    }
  }

  #adopt(texts: string, signing: SigningSet): void {
    checkSuccession(this.#set, signing);
    this.#files = texts;
    this.#set = signing;
    this.#current = certificationOf(signing);
    const { issuer, roots } = signing;
    this.#options.logger.log("info", "the CA's new files are in force", { serial: issuer.certificate.serial, roots: roots.length });
    for (const listener of this.#followers) listener(this.#current);
  }
}
