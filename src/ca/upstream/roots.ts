/** The roots that another CA's certificates must lead to, followed while their file changes. */
import { readFileSync, statSync } from "node:fs";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import { type Certificate, parseCertificates } from "../../x509/certificate.ts";
import { areAmong, checkRoot } from "../signing-set.ts";

const POLL_MS = 5000;
const MAX_BYTES = 256 * 1024;
const OTHERS_WRITE = 0o022;

interface Roots {
  readonly text: string;
  readonly certificates: readonly Certificate[];
}

function read(path: string): Roots {
  try {
    const { mode, size } = statSync(path);
    if ((mode & OTHERS_WRITE) !== 0) throw new AppError("unsafe-permissions", "others may write the file", { help: `chmod go-w ${path}` });
    if (size > MAX_BYTES) throw new AppError("invalid-configuration", `the file has more than ${MAX_BYTES} bytes`);
    const text = readFileSync(path, "utf8");
    const certificates = parseCertificates(text);
    for (const root of certificates) checkRoot(root);
    return { text, certificates };
  } catch (thrown) {
    const { code, message, help } = AppError.from(thrown);
    throw new AppError(
      code === "unsafe-permissions" ? code : "invalid-configuration",
      `the roots of the other CA cannot be taken: ${message}`,
      {
        where: path,
        help: help ?? "put its root certificates there, in PEM",
        cause: thrown,
      },
    );
  }
}

export class FollowedRoots {
  readonly #path: string;
  readonly #logger: Logger;
  readonly #onChange: () => void;
  readonly #poll: NodeJS.Timeout;
  #current: Roots;
  #problem: string | undefined;

  /** Throws `invalid-configuration` and `unsafe-permissions` as to what is there now. */
  constructor(path: string, logger: Logger, onChange: () => void) {
    this.#path = path;
    this.#logger = logger;
    this.#onChange = onChange;
    this.#current = read(path);
    this.#poll = setInterval(() => this.#look(), POLL_MS).unref();
  }

  get certificates(): readonly Certificate[] {
    return this.#current.certificates;
  }

  /** As PEM. */
  get text(): string {
    return this.#current.text;
  }

  /** Why the newest file is not in force. */
  get problem(): string | undefined {
    return this.#problem;
  }

  close(): void {
    clearInterval(this.#poll);
  }

  /** Roots are added first and taken away later: a change of both at once would cut workloads off. */
  #look(): void {
    try {
      const next = read(this.#path);
      if (next.text !== this.#current.text) {
        const [before, after] = [this.#current.certificates, next.certificates];
        if (!areAmong(before, after) && !areAmong(after, before))
          throw new AppError("invalid-configuration", "the new roots neither keep all of the old ones nor are all among them");
        this.#current = next;
        this.#logger.log("info", "the other CA's new roots are in force", { roots: after.length });
        this.#onChange();
      }
      this.#problem = undefined;
    } catch (thrown) {
      const { message } = AppError.from(thrown);
      if (message !== this.#problem)
        this.#logger.log("error", "the other CA's roots changed and are not taken: the old ones stay", { reason: message });
      this.#problem = message;
    }
  }
}
