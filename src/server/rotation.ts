/** Replacing the CA's authority as an operator does it: each step says whom it concerns, is refused where it would cut somebody off, and answers when the proxies have it. */
import type { OwnAuthority } from "../ca/authorities.ts";
import type { Authority } from "../ca/authority.ts";
import type { MeshRoots } from "../ca/federation/mesh-roots.ts";
import type { OwnCa } from "../ca/own-ca.ts";
import { decodeReason } from "../ca/revoke.ts";
import type { ServingCertificate } from "../ca/serving.ts";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { MeshSnapshot } from "../mesh/snapshot.ts";
import type { RevocationReason } from "../x509/revocation-list.ts";
import type { XdsConnection } from "../xds/connection.ts";
import { blockersOf, type CutOff, cutOffBy, ownCutOff, ROTATION_STEPS, type RotationStep } from "./rotation-checks.ts";
import type { Trust } from "./trust.ts";
import { type HolderStatus, holdersOf } from "./trust-status.ts";

export interface RotationRequest {
  readonly step: RotationStep;
  /** The beginning of an identifier; empty for the only one that the step can be about. */
  readonly authority: string;
  readonly force: boolean;
  readonly dryRun: boolean;
  /** Of the certificates that are revoked with an authority. */
  readonly reason: RevocationReason;
}

/** What `garrison ca prepare`, `activate`, `taint` and `revoke --authority` show. */
export interface RotationAnswer {
  readonly step: RotationStep;
  /** Empty for one that would be prepared. */
  readonly authority: string;
  /** False for a dry run, and for a step that was refused. */
  readonly done: boolean;
  /** Connected proxies, and those of them that the step concerns. */
  readonly connected: number;
  readonly concerned: readonly string[];
  /** Whether the control plane's own certificate is of those concerned, and why it could not be replaced; empty where it could. */
  readonly controlPlane: { readonly concerned: boolean; readonly problem: string };
  /** Identities with unexpired certificates of the authority. */
  readonly identities: readonly { readonly identity: string; readonly certificates: number; readonly until: number }[];
  /** Whom the step would cut off, or did, and why. */
  readonly cutOff: readonly CutOff[];
  /** Certificates that were revoked with the authority. */
  readonly revoked: number;
  /** Connected proxies that have not done their part yet. */
  readonly waiting: readonly string[];
  /** Milliseconds, until the last of the others had. */
  readonly tookMs: number;
}

export interface RotationOptions {
  readonly authority: Authority;
  readonly serving: Pick<ServingCertificate, "status" | "settled">;
  readonly trust: Trust;
  readonly meshRoots: Pick<MeshRoots, "statuses">;
  readonly connections: () => readonly XdsConnection[];
  readonly snapshot: () => MeshSnapshot;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Milliseconds to wait for proxies. */
  readonly waitMs?: number;
}

/** Below what the command line waits for an answer. */
const DEFAULT_WAIT_MS = 8_000;
/** More would be a list that every proxy carries; they end with their handshakes then. */
const MAX_REVOKED = 1_000;

/** A request as JSON has it. Throws `invalid-argument`. */
function decodeRotation(body: unknown): RotationRequest {
  const fields = (typeof body === "object" && body !== null ? body : {}) as Partial<Record<string, unknown>>;
  const step = ROTATION_STEPS.find((each) => each === fields.step);
  const { authority = "", force = false, dryRun = false, reason = "superseded" } = fields;
  if (step !== undefined && typeof authority === "string" && typeof force === "boolean" && typeof dryRun === "boolean")
    return { step, authority, force, dryRun, reason: decodeReason(reason) };
  throw new AppError(
    "invalid-argument",
    `a rotation has a \`step\` (${ROTATION_STEPS.join(", ")}), and perhaps \`authority\`, \`force\`, \`dryRun\` and \`reason\``,
  );
}

function ownCa({ own, status }: Authority): OwnCa {
  if (own !== undefined) return own;
  throw new AppError("unsupported", "the CA's keys are the operator's, and so is their rotation", {
    help: `rotate it where they are (${status.source}): a root is added beside the old one first; \`garrison ca authorities\` shows who trusts it`,
  });
}

/** The authority that the step is about; undefined for one that is made by it. */
function targetOf(own: OwnCa, { step, authority }: RotationRequest): OwnAuthority | undefined {
  switch (step) {
    case "prepare":
      own.checkPrepare();
      return undefined;
    case "activate":
      return own.toActivate(authority);
    case "taint":
      return own.toTaint(authority);
    case "revoke":
      return own.toRevoke(authority);
  }
}

/** Whom the step concerns: everybody, or those with a certificate of the authority. */
function concernedBy(step: RotationStep, id: string, holders: readonly HolderStatus[]): readonly string[] {
  const concerned = step === "prepare" || step === "activate" ? holders : holders.filter(({ authority }) => authority === id);
  return concerned.map(({ workload }) => workload);
}

/** Whether a proxy has done its part. */
function hasFollowed(step: RotationStep, id: string, { roots, authority, current }: HolderStatus): boolean {
  if (step === "taint") return authority !== id;
  return step === "revoke" ? current && !roots.includes(id) : current && roots.includes(id);
}

/** What the mesh's configuration names is trusted whatever becomes of the authority. Throws `invalid-argument`. */
function checkNotConfigured(id: string, { statuses }: Pick<MeshRoots, "statuses">): void {
  const named = statuses.find(({ roots }) => roots.some((root) => root.id === id));
  if (named === undefined) return;
  throw new AppError(
    "invalid-argument",
    `the MeshConfig names the root of ${id}, so that it would be trusted all the same: ${named.from}`,
    {
      help: "take it out there first",
    },
  );
}

class Rotation {
  readonly #options: RotationOptions;

  constructor(options: RotationOptions) {
    this.#options = options;
  }

  async run(request: RotationRequest): Promise<RotationAnswer> {
    const { authority, clock, logger, serving } = this.#options;
    const { step, force, dryRun, reason } = request;
    const own = ownCa(authority);
    const target = targetOf(own, request);
    const id = target?.id ?? "";
    if (step === "revoke") checkNotConfigured(id, this.#options.meshRoots);
    const holders = this.#holders();
    await serving.settled();
    const identities = step === "taint" || step === "revoke" ? authority.ledger.holdersOf(id, clock.now()) : [];
    const cutOff =
      step === "revoke"
        ? [...ownCutOff(id, serving.status), ...cutOffBy(id, identities, holders, this.#options.snapshot())]
        : blockersOf(step, own, id, holders);
    const concerned = step === "activate" || (step !== "prepare" && serving.status.authority === id);
    const controlPlane = { concerned, problem: serving.status.problem ?? "" };
    const about = { step, connected: holders.length, concerned: concernedBy(step, id, holders), controlPlane, identities, cutOff };
    if (dryRun || (cutOff.length > 0 && !force)) return { ...about, authority: id, done: false, revoked: 0, waiting: [], tookMs: 0 };
    const began = performance.now();
    const made = this.#take(own, step, target);
    const revoked = step === "revoke" ? this.#revokeCertificates(cutOff, reason) : 0;
    logger.log("warn", "the CA's authorities change", { step, authority: made.id, forced: cutOff.length > 0, cutOff: cutOff.length });
    // Its certificate is replaced by each change of the authorities.
    await serving.settled();
    const waiting = await this.#settled(step, made.id);
    // Who was cut off is not connected any more.
    return {
      ...about,
      controlPlane: { concerned, problem: serving.status.problem ?? "" },
      connected: this.#holders().length,
      authority: made.id,
      done: true,
      revoked,
      waiting,
      tookMs: Math.round(performance.now() - began),
    };
  }

  #holders(): readonly HolderStatus[] {
    return holdersOf(this.#options.trust, this.#options.connections());
  }

  #take(own: OwnCa, step: RotationStep, target: OwnAuthority | undefined): OwnAuthority {
    if (target === undefined) {
      const [only, ...others] = own.authorities;
      // From here on the ledger must tell the certificates of one authority from those of another.
      if (only !== undefined && others.length === 0) this.#options.authority.ledger.attribute(only.id);
      return own.prepare();
    }
    if (step === "activate") own.activate(target);
    else if (step === "taint") own.taint(target);
    else own.revoke(target);
    return target;
  }

  /** New handshakes fail by the missing root; connections that are open end by this. */
  #revokeCertificates(cutOff: readonly CutOff[], reason: RevocationReason): number {
    const { authority, clock, logger } = this.#options;
    const certificates = cutOff.flatMap(({ identity, authority: id }) =>
      authority.ledger.unexpired({ identity }, clock.now()).filter((record) => record.authority === undefined || record.authority === id),
    );
    if (certificates.length > MAX_REVOKED) {
      logger.log("warn", "open connections of the revoked authority's certificates go on", {
        certificates: certificates.length,
        most: MAX_REVOKED,
      });
      return 0;
    }
    return certificates.length === 0 ? 0 : authority.revocations.revoke(certificates, reason, clock.now()).length;
  }

  /** The connected proxies that have not followed within the time. */
  async #settled(step: RotationStep, id: string): Promise<readonly string[]> {
    const { trust, waitMs = DEFAULT_WAIT_MS } = this.#options;
    const late = () => this.#holders().filter((holder) => !hasFollowed(step, id, holder));
    await trust.service.whenever(() => late().length === 0, waitMs);
    return late().map(({ workload, refusal }) => (refusal === "" ? workload : `${workload} (${refusal})`));
  }
}

/** The route `POST /v1/ca/rotate`. One step at a time. */
export function rotationRoute(options: RotationOptions) {
  const rotation = new Rotation(options);
  let busy = false;
  return async ({ body }: { readonly body: unknown }): Promise<RotationAnswer> => {
    const request = decodeRotation(body);
    if (busy) throw new AppError("unavailable", "another step is under way", { help: "wait until it has answered" });
    busy = true;
    try {
      return await rotation.run(request);
    } finally {
      busy = false;
    }
  };
}
