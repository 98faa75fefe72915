/** What this workload is to trust, kept up to date: roots and keys as the control plane pushes them, in force at the proxy before they are acknowledged. */
import { AppError } from "../core/error.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import { parseCertificates } from "../x509/certificate.ts";
import type { AgentOptions } from "./agent-options.ts";
import type { CertificateManager } from "./certificate-manager.ts";
import { type IssuedCertificate, leadsToRoots } from "./issued-certificate.ts";
import type { SdsServer } from "./sds-server.ts";
import { rootsVersion, SERVER_ROOTS, serverRootsVersion } from "./secrets.ts";
import type { Timers } from "./timers.ts";
import { TrustClient } from "./trust-client.ts";
import type { ReceivedBundle, TrustReport, TrustUpdate } from "./trust-messages.ts";

export interface TrustOptions extends Pick<AgentOptions, "workload" | "identity" | "controlPlane" | "rootCertificateFile" | "logger"> {
  readonly manager: CertificateManager;
  readonly sds: SdsServer;
  /** Takes the keys that verify JWT-SVIDs of the workload's own trust domain, and by name those of others. */
  readonly takeJwks: (jwks: string, others: ReadonlyMap<string, string>) => void;
  /** Why the certificate's files do not have the newest roots; undefined where they do, or there are none. */
  readonly filesProblem: () => AppError | undefined;
  /** The control plane knows the workload by then; absent where it does from the start. */
  readonly admitted?: Promise<void>;
  readonly now: () => number;
  readonly timers: Timers;
  /** In [0, 1). */
  readonly random: () => number;
}

const ACCEPTANCE_TIMEOUT_MS = 10_000;

/** The bundle of the workload's own trust domain. Throws `permission-denied` where there is none that can be used: the one before stays. */
function ownBundle({ bundles }: TrustUpdate, trustDomain: string): ReceivedBundle {
  const own = bundles.find((bundle) => bundle.trustDomain === trustDomain);
  try {
    if (own !== undefined && parseCertificates(own.roots).length > 0) return own;
  } catch (cause) {
    throw new AppError("permission-denied", `the roots of \`${trustDomain}\` cannot be read`, { cause });
  }
  throw new AppError("permission-denied", `the control plane sent no roots of \`${trustDomain}\``);
}

/** A part of the bundles of other trust domains, by their names, where they have it. */
function partOfOthers({ bundles }: TrustUpdate, trustDomain: string, part: "roots" | "jwks"): ReadonlyMap<string, string> {
  const others = bundles.filter((bundle) => bundle.trustDomain !== trustDomain && bundle[part] !== "");
  return new Map(others.map((bundle) => [bundle.trustDomain, bundle[part]]));
}

/** Why peers that know the newest refuse the certificate, or are soon to; undefined where they do not. */
function whyReplace(certificate: IssuedCertificate, { tainted, revoked }: TrustUpdate, time: number): string | undefined {
  if (certificate.serial === revoked) return "the certificate was revoked";
  const issuers = parseCertificates(certificate.chain).flatMap(({ authorityKeyId }) =>
    authorityKeyId === undefined ? [] : [authorityKeyId],
  );
  const isOver = issuers.some((id) => tainted.includes(id)) || !leadsToRoots(certificate, time);
  return isOver ? "the certificate's authority is being replaced" : undefined;
}

export class Trust {
  readonly #options: TrustOptions;
  readonly #client: TrustClient;
  readonly #unsubscribe: () => void;
  /** The certificate that the proxy has accepted. */
  #inUse: Pick<TrustReport, "serial" | "authority"> = { serial: "", authority: "" };
  #cancelRenewal = () => {};

  constructor(options: TrustOptions) {
    const { workload, controlPlane, rootCertificateFile, manager, timers, random, logger } = options;
    this.#options = options;
    this.#client = new TrustClient({
      workload,
      controlPlane,
      rootCertificateFile,
      certificate: () => manager.valid,
      take: (update) => this.#take(update),
      inUse: () => this.#inUse,
      onLost: () => manager.trustAnswers(),
      onRefused: () => void manager.renew().catch(() => undefined),
      timers,
      random,
      logger,
    });
    let serial: string | undefined;
    this.#unsubscribe = manager.subscribe((certificate) => {
      if (certificate.serial === serial) return;
      serial = certificate.serial;
      void this.#renewed(certificate);
    });
  }

  /** Whether what the control plane pushed last is in force. */
  get current(): boolean {
    return this.#client.current;
  }

  close(): void {
    this.#cancelRenewal();
    this.#unsubscribe();
    this.#client.close();
  }

  async #take(update: TrustUpdate): Promise<void> {
    const { identity, manager, sds, takeJwks, logger } = this.#options;
    const { trustDomain } = parseSpiffeId(identity);
    const { roots, jwks, sequence } = ownBundle(update, trustDomain);
    const otherRoots = partOfOthers(update, trustDomain, "roots");
    const version = rootsVersion({ roots, ...(otherRoots.size === 0 ? {} : { otherRoots }) });
    const changed = manager.valid !== undefined && rootsVersion(manager.valid) !== version;
    manager.trust({ roots, otherRoots, revocationLists: update.revocationList });
    takeJwks(jwks, partOfOthers(update, trustDomain, "jwks"));
    if (changed) {
      const words = { sequence, roots: parseCertificates(roots).length, others: [...otherRoots.keys()].join() };
      logger.log("info", "the trust bundle is taken", words);
    }
    this.#replaceWhereDue(update);
    const problem = this.#options.filesProblem();
    if (problem !== undefined) throw problem;
    const { valid } = manager;
    await Promise.all([
      sds.whenAccepted("ROOTCA", version, ACCEPTANCE_TIMEOUT_MS),
      valid === undefined ? undefined : sds.whenAccepted(SERVER_ROOTS, serverRootsVersion(valid), ACCEPTANCE_TIMEOUT_MS),
    ]);
  }

  /** At a moment of its own, since everybody is told at one. A renewal that fails is tried again by the manager. */
  #replaceWhereDue(update: TrustUpdate): void {
    const { manager, now, timers, random, logger } = this.#options;
    this.#cancelRenewal();
    const certificate = manager.valid;
    const why = certificate === undefined ? undefined : whyReplace(certificate, update, now());
    if (certificate === undefined || why === undefined) return;
    const delayMs = Math.round(update.renewWithinMs * random());
    logger.log("info", `${why}: renewing`, { serial: certificate.serial, inMs: delayMs });
    this.#cancelRenewal = timers.after(delayMs, () => {
      manager.replace().catch(() => undefined);
    });
  }

  /** The control plane learns of the new certificate when the proxy uses it. */
  async #renewed(certificate: IssuedCertificate): Promise<void> {
    const { sds, manager, logger } = this.#options;
    void (this.#options.admitted ?? Promise.resolve()).then(() => this.#client.start());
    try {
      await sds.whenAccepted("default", certificate.serial, ACCEPTANCE_TIMEOUT_MS);
    } catch (thrown) {
      logger.log("error", "the proxy does not use the new certificate", {
        serial: certificate.serial,
        reason: AppError.from(thrown).message,
      });
      return;
    }
    if (manager.valid?.serial !== certificate.serial) return;
    this.#inUse = { serial: certificate.serial, authority: parseCertificates(certificate.chain)[0]?.authorityKeyId ?? "" };
    this.#client.report();
  }
}
