/** Replacing the key that signs JWT-SVIDs as an operator does it: published, then signing, then the ones before withdrawn. */
import type { JwtSvidKeys } from "../ca/jwt-svid-keys.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { XdsConnection } from "../xds/connection.ts";
import type { Trust } from "./trust.ts";
import { holdersOf } from "./trust-status.ts";

const STEPS = ["prepare", "activate", "revoke"] as const;
export type JwtRotationStep = (typeof STEPS)[number];

export interface JwtRotationRequest {
  readonly step: JwtRotationStep;
  /** Although somebody has not acknowledged the key. */
  readonly force: boolean;
}

/** What `garrison ca prepare`, `activate` and `revoke` show with `--jwt`. */
export interface JwtRotationAnswer {
  readonly step: JwtRotationStep;
  /** The identifier of the key that waits or signs; empty for a step that was refused. */
  readonly kid: string;
  readonly connected: number;
  /** Workloads whose agents have not acknowledged the newest bundle. */
  readonly waiting: readonly string[];
}

export interface JwtRotationOptions {
  readonly keys: JwtSvidKeys;
  readonly trust: Trust;
  readonly connections: () => readonly XdsConnection[];
  readonly logger: Logger;
  /** Milliseconds to wait for agents. */
  readonly waitMs?: number;
}

/** Below what the command line waits for an answer. */
const DEFAULT_WAIT_MS = 8_000;

function decodeRequest(body: unknown): JwtRotationRequest {
  const { step, force = false } = (typeof body === "object" && body !== null ? body : {}) as Partial<Record<string, unknown>>;
  const known = STEPS.find((each) => each === step);
  if (known !== undefined && typeof force === "boolean") return { step: known, force };
  throw new AppError("invalid-argument", `a rotation of keys has a \`step\` (${STEPS.join(", ")}), and perhaps \`force\``);
}

/** The route `POST /v1/ca/rotate-jwt`. A key signs only what everybody who is connected can verify, unless it is forced. */
export function jwtRotationRoute({ keys, trust, connections, logger, waitMs = DEFAULT_WAIT_MS }: JwtRotationOptions) {
  const late = () =>
    holdersOf(trust, connections())
      .filter(({ current }) => !current)
      .map(({ workload }) => workload);
  return async ({ body }: { readonly body: unknown }): Promise<JwtRotationAnswer> => {
    const { step, force } = decodeRequest(body);
    trust.source.refresh();
    const before = late();
    const connected = () => holdersOf(trust, connections()).length;
    if (step === "activate" && before.length > 0 && !force) return { step, kid: "", connected: connected(), waiting: before };
    const kid = keys[step]();
    logger.log("warn", "the keys of JWT-SVIDs change", { step, kid });
    trust.source.refresh();
    await trust.service.whenever(() => late().length === 0, waitMs);
    return { step, kid, connected: connected(), waiting: late() };
  };
}
