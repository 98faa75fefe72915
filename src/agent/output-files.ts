/** Writes each certificate to files, again until they have the newest, and tells the program that reads them. */
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import type { AgentOptions } from "./agent-options.ts";
import { openCertificateFolder, readCertificateFiles, trustDomainsInFiles, writeCertificateFiles } from "./certificate-files.ts";
import type { CertificateManager } from "./certificate-manager.ts";
import type { IssuedCertificate } from "./issued-certificate.ts";
import { sendRenewalSignal } from "./renewal-signal.ts";
import type { Timers } from "./timers.ts";

export interface OutputFilesOptions extends Pick<AgentOptions, "identity" | "outputCertificates" | "renewalSignal" | "logger"> {
  readonly manager: Pick<CertificateManager, "subscribe">;
  readonly toCommand: (signal: NodeJS.Signals) => void;
  readonly clock: Clock;
  readonly timers: Timers;
}

export interface OutputFiles {
  /** The certificate of an earlier run, where it is still good. */
  readonly earlier: IssuedCertificate | undefined;
  /** Why the files do not have the newest; undefined where they do, or nobody wants them. */
  readonly problem: () => AppError | undefined;
  close(): void;
}

/** A disk has room again before long, or a folder is there again. */
const AGAIN_MS = 10_000;

const contents = ({ serial, roots, otherRoots = new Map() }: IssuedCertificate) => JSON.stringify([serial, roots, [...otherRoots]]);

/** Begins with the manager's next certificate. Throws as `openCertificateFolder` does. */
export function keepOutputFiles(options: OutputFilesOptions): OutputFiles {
  const { identity, outputCertificates, renewalSignal, manager, toCommand, clock, timers, logger } = options;
  const folder = outputCertificates === undefined ? undefined : openCertificateFolder(outputCertificates);
  const earlier = folder === undefined ? undefined : readCertificateFiles(folder, clock.now(), identity);
  // Roots of other domains hold only while the control plane says so: what files of an earlier run have of them is taken away until it does.
  const isWhole = earlier !== undefined && trustDomainsInFiles(folder ?? "").join() === parseSpiffeId(earlier.identity).trustDomain;
  /** What the files have, as far as is known. */
  let known = isWhole ? contents(earlier) : undefined;
  let isFirst = earlier === undefined;
  let problem: AppError | undefined;
  let cancelRetry = () => {};

  function take(certificate: IssuedCertificate): void {
    cancelRetry();
    if (contents(certificate) === known) return;
    try {
      if (folder !== undefined) writeCertificateFiles(folder, certificate);
    } catch (cause) {
      // A part of it may be there.
      known = undefined;
      problem = new AppError("unavailable", `the certificate could not be written to its files: ${AppError.from(cause).message}`, {
        cause,
      });
      logger.log("error", "the certificate could not be written to its files", {
        folder,
        error: AppError.from(cause).message,
        retryInMs: AGAIN_MS,
      });
      cancelRetry = timers.after(AGAIN_MS, () => take(certificate));
      return;
    }
    if (!isFirst && renewalSignal !== undefined) sendRenewalSignal(renewalSignal, toCommand, logger);
    [known, isFirst, problem] = [contents(certificate), false, undefined];
  }

  const unsubscribe = manager.subscribe(take);
  const close = () => {
    unsubscribe();
    cancelRetry();
  };
  return { earlier, problem: () => problem, close };
}
