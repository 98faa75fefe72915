/** The control plane's own certificate, renewed from its own CA while connections live. */
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { controlPlaneIdentity } from "../identity/control-plane.ts";
import { formatSpiffeId, type SpiffeId } from "../identity/spiffe-id.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import { RotatingTlsMaterial } from "../rpc/credentials.ts";
import { parseCertificates } from "../x509/certificate.ts";
import { buildCsr, generateKey } from "../x509/csr-builder.ts";
import type { Authority } from "./authority.ts";

/** Runs `run` once after `delayMs`; the answer cancels it. */
export type Schedule = (run: () => void, delayMs: number) => () => void;

export interface ServingOptions {
  readonly authority: Authority;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Names by which clients reach it, besides `localhost` and the usual one. */
  readonly dnsNames?: readonly string[];
  readonly schedule?: Schedule;
  /** From 0 to below 1. */
  readonly random?: () => number;
}

/** The certificate in use, and what keeps it from being renewed. */
export interface ServingStatus {
  /** A SPIFFE ID. */
  readonly identity: string;
  /** Lower-case hex. */
  readonly serial: string;
  /** The key identifier of who signed it; empty where it does not say. */
  readonly authority: string;
  /** Milliseconds. */
  readonly notAfter: number;
  /** Why the last attempt to renew it failed. */
  readonly problem?: string;
}

export interface ServingCertificate {
  readonly material: RotatingTlsMaterial;
  readonly status: ServingStatus;
  /** Resolves when the renewals that are under way have come to an end, also where they failed. */
  settled(): Promise<void>;
  /** Stops the renewals. */
  close(): void;
}

const DNS_NAMES = ["localhost", "garrison.istio-system.svc"];
const CALLER = "control plane";
const RETRY_MS = 30_000;

/** No single wait is longer: a timer counts the time that the machine is awake, and certificates expire by the clock on the wall. */
const LONGEST_WAIT_MS = 60_000;

/** After so long by the clock or by the timers, whichever is first. Its timers do not keep the process alive. */
function scheduleBy(clock: Clock): Schedule {
  return (run, delayMs) => {
    const due = clock.now() + delayMs;
    let left = delayMs;
    let timer: NodeJS.Timeout;
    const wait = (): void => {
      const slice = Math.min(left, Math.max(0, due - clock.now()), LONGEST_WAIT_MS);
      left -= slice;
      timer = setTimeout(() => (left <= 0 || clock.now() >= due ? run() : wait()), slice).unref();
    };
    wait();
    return () => clearTimeout(timer);
  };
}

/** The identity by which clients know the control plane; no workload ever gets it. */
export function servingIdentity(trustDomain: TrustDomain): SpiffeId {
  return controlPlaneIdentity(trustDomain);
}

/** 45 to 55 % of a life: half of it, at different moments for different replicas. */
function renewalDelay(lifeMs: number, random: () => number): number {
  return Math.max(1000, lifeMs * (0.45 + 0.1 * random()));
}

/** A control plane that does not start cannot be asked to give its own identity free. */
function whyNotStarted(thrown: unknown, identity: string, { revocations }: Authority): unknown {
  if (!revocations.blocks.some(({ kind, value }) => kind === "identity" && value === identity)) return thrown;
  return new AppError("permission-denied", AppError.from(thrown).message, {
    help: "it is the control plane's own: give it free with `garrison ca unblock istio-system/garrison --offline`",
    cause: thrown,
  });
}

/**
 * Issues the first certificate at once, then a new one with a new key at half of each one's life. When a renewal fails, the old
 * certificate stays, `status` says why, and the next attempt is in 30 s. A revoked one is renewed at once. Rejects as `Authority.issueServing` does, the first time only.
 */
export async function startServing({
  authority,
  clock,
  logger,
  dnsNames = [],
  schedule = scheduleBy(clock),
  random = Math.random,
}: ServingOptions): Promise<ServingCertificate> {
  const identity = servingIdentity(authority.trustDomain);
  const material = new RotatingTlsMaterial();
  let status: ServingStatus = { identity: formatSpiffeId(identity), serial: "", authority: "", notAfter: 0 };
  let cancel: () => void = () => undefined;
  let closed = false;

  async function renew(): Promise<number> {
    const key = generateKey();
    const issued = await authority.issueServing({ csr: buildCsr(key, formatSpiffeId(identity)), identity, ttlSeconds: 0, caller: CALLER }, [
      ...new Set([...DNS_NAMES, ...dnsNames]),
    ]);
    const { serial, notAfter } = issued;
    status = { identity: status.identity, serial, notAfter, authority: parseCertificates(issued.leaf)[0]?.authorityKeyId ?? "" };
    const chain = [issued.leaf, ...issued.intermediates].join("");
    material.update({ key: key.export({ type: "pkcs8", format: "pem" }).toString(), chain, roots: issued.roots });
    logger.log("info", "serving certificate issued", { serial: issued.serial, notAfter: new Date(issued.notAfter).toISOString() });
    return renewalDelay(issued.notAfter - clock.now(), random);
  }

  async function attempt(): Promise<void> {
    cancel();
    if (closed) return;
    let delay = RETRY_MS;
    try {
      delay = await renew();
    } catch (error) {
      const { message: problem } = AppError.from(error);
      status = { ...status, problem };
      logger.log("error", "the serving certificate was not renewed", { reason: problem, retryInMs: RETRY_MS });
    }
    if (!closed) cancel = schedule(next, delay);
  }

  const first = await renew().catch((thrown: unknown) => {
    throw whyNotStarted(thrown, status.identity, authority);
  });
  let last: Promise<void> = Promise.resolve();
  /** One after the other: the newest issuer's certificate is the last to be put in place. */
  function next(): void {
    last = last.then(attempt);
  }
  cancel = schedule(next, first);
  // Other roots or another issuer: peers are to see the newest chain, and only the roots of now are trusted.
  authority.onChange(next);
  // Also when the identity is given free again.
  authority.revocations.onChange(() => {
    if (status.problem !== undefined || authority.revocations.isRevoked(status.serial)) next();
  });
  return {
    material,
    get status() {
      return status;
    },
    settled: () => last,
    close() {
      closed = true;
      cancel();
    },
  };
}
