/** The CA that Garrison makes, whose authority can be replaced while it signs. */
import { join } from "node:path";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import { Issuer, makeRoot } from "../x509/issuer.ts";
import { DEFAULT_KEY_SPEC, type KeySpec, makeKey } from "../x509/key-spec.ts";
import { formatPem } from "../x509/pem.ts";
import {
  checkPrepare,
  findAuthority,
  type OwnAuthority,
  withActivated,
  withoutAuthority,
  withPrepared,
  withTainted,
} from "./authorities.ts";
import { keyFileOf, readAuthorities, writeAuthorities } from "./authority-file.ts";
import { authorityId } from "./authority-id.ts";
import { type CaSource, type Certification, certificationOf } from "./ca-source.ts";
import { BACKDATE_SECONDS } from "./issue-checks.ts";
import { checkRoot, openFirstAuthority } from "./root-store.ts";
import type { SigningSet } from "./signing-set.ts";
import { ensurePrivateFolder, replacePrivateFile, writePrivateFile } from "./state-files.ts";

export interface OwnCaOptions {
  /** The folder of the CA; made with mode 0700 where there is none. */
  readonly folder: string;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Of authorities that are made or prepared from now on; P-256 without. */
  readonly keySpec?: KeySpec | undefined;
}

const ROOTS_FILE = "root-cert.pem";

/** An authority that is a root signs for itself. */
function signingSetOf(authority: OwnAuthority, authorities: readonly OwnAuthority[]): SigningSet {
  const { certificate, key } = authority;
  return { issuer: new Issuer(certificate, key), intermediates: [], root: certificate, roots: authorities.map((each) => each.certificate) };
}

/**
 * The control plane's own certificate comes from the oldest authority that is trusted: an agent that was away knows that one, if any, and learns of
 * the others from the control plane that it can still verify.
 */
function certificationFor(authorities: readonly OwnAuthority[], now: number): Certification {
  const active = authorities.find(({ state }) => state === "active");
  if (active === undefined) throw new AppError("internal", "no authority is active");
  const oldest = authorities.find(({ certificate }) => now < certificate.notAfter) ?? active;
  const { certifier } = certificationOf(signingSetOf(oldest, authorities));
  const others = authorities.filter((each) => each !== active).map(({ certificate, key }) => new Issuer(certificate, key));
  return { ...certificationOf(signingSetOf(active, authorities)), serving: certifier, others };
}

export class OwnCa implements CaSource {
  readonly name = "own";
  readonly problem = undefined;
  readonly #options: OwnCaOptions;
  readonly #followers: ((current: Certification) => void)[] = [];
  #authorities: readonly OwnAuthority[];
  #current: Certification;

  /** Opens the CA of the folder; the first time, makes its key and its root certificate. Throws `unsafe-permissions` and `invalid-configuration`. */
  constructor(options: OwnCaOptions) {
    const { folder, trustDomain, clock, keySpec } = options;
    this.#options = options;
    ensurePrivateFolder(folder);
    const stored = readAuthorities(folder, (where, root) => checkRoot(where, root, trustDomain));
    const now = clock.now();
    this.#authorities = stored ?? [openFirstAuthority(folder, { trustDomain, now, backdateSeconds: BACKDATE_SECONDS, keySpec })];
    this.#current = certificationFor(this.#authorities, clock.now());
    // The step that changed the authorities may have been interrupted before it.
    if (stored !== undefined) this.#writeRoots();
  }

  get current(): Certification {
    return this.#current;
  }

  /** The oldest first. */
  get authorities(): readonly OwnAuthority[] {
    return this.#authorities;
  }

  follow(listener: (current: Certification) => void): void {
    this.#followers.push(listener);
  }

  close(): void {
    this.#followers.splice(0);
  }

  /** Whether another can be prepared. Throws `already-exists` and `resource-exhausted`. */
  checkPrepare(): void {
    checkPrepare(this.#authorities);
  }

  /** A new authority: everybody is to trust it before it signs. Throws as `checkPrepare`, and `already-exists` when its key cannot be written. */
  prepare(): OwnAuthority {
    const { folder, trustDomain, clock, keySpec = DEFAULT_KEY_SPEC } = this.#options;
    this.checkPrepare();
    const now = clock.now();
    const key = makeKey(keySpec);
    const certificate = makeRoot(key, { organization: trustDomain, now, backdateSeconds: BACKDATE_SECONDS });
    const id = authorityId(certificate);
    const prepared: OwnAuthority = { id, certificate, key, keyFile: keyFileOf(id), state: "prepared", since: now };
    const next = withPrepared(this.#authorities, prepared);
    writePrivateFile(join(folder, prepared.keyFile), key.export({ type: "pkcs8", format: "pem" }).toString());
    this.#adopt(next);
    return prepared;
  }

  /** The authority that `activate` with this beginning of an identifier means. Throws `not-found` and `invalid-argument`. */
  toActivate(id: string): OwnAuthority {
    return findAuthority(this.#authorities, id, id === "" ? ["prepared"] : ["prepared", "old"]);
  }

  activate({ id }: OwnAuthority): void {
    this.#adopt(withActivated(this.#authorities, id, this.#options.clock.now()));
  }

  /** As `toActivate`. */
  toTaint(id: string): OwnAuthority {
    return findAuthority(this.#authorities, id, ["old"]);
  }

  taint({ id }: OwnAuthority): void {
    this.#adopt(withTainted(this.#authorities, id, this.#options.clock.now()));
  }

  /** As `toActivate`. */
  toRevoke(id: string): OwnAuthority {
    return findAuthority(this.#authorities, id, id === "" ? ["tainted"] : ["prepared", "old", "tainted"]);
  }

  /** Nobody is to trust it any more; its key is removed. */
  revoke({ id }: OwnAuthority): void {
    this.#adopt(withoutAuthority(this.#authorities, id));
  }

  /** On the disk before it is in force. */
  #adopt(next: readonly OwnAuthority[]): void {
    const { folder, clock } = this.#options;
    const current = certificationFor(next, clock.now());
    try {
      writeAuthorities(folder, next);
    } catch (cause) {
      throw new AppError("unavailable", "the CA's authorities cannot be written", { help: "look at the disk of the state folder", cause });
    }
    this.#authorities = next;
    this.#current = current;
    for (const follower of this.#followers) follower(current);
    this.#writeRoots();
  }

  /** What workloads of this machine start with. */
  #writeRoots(): void {
    const pem = this.#authorities.map(({ certificate }) => formatPem("CERTIFICATE", certificate.der)).join("");
    try {
      replacePrivateFile(join(this.#options.folder, ROOTS_FILE), pem);
    } catch (thrown) {
      // Agents have the roots from the control plane; the file is for those that start.
      this.#options.logger.log("error", "the file of the roots cannot be written", {
        file: ROOTS_FILE,
        reason: AppError.from(thrown).message,
      });
    }
  }
}
