/** What the replicas of a CA share besides its key: the keys of JWT-SVIDs, and what was revoked. */
import type { Authority } from "../../ca/authority.ts";
import type { JwtSvidKeys } from "../../ca/jwt-svid-keys.ts";
import { SharedRevocations } from "../../ca/shared-revocations.ts";
import type { Clock } from "../../core/clock.ts";
import { openSharedSecret, type SharedSecret, type SharedSecretOptions } from "./shared-secret.ts";

export interface SharedStateOptions extends Pick<SharedSecretOptions, "api" | "logger" | "signal"> {
  /** The CA's Secret: the others are named after it. */
  readonly secret: SharedSecretOptions["secret"];
  readonly authority: Authority;
  readonly jwtKeys: JwtSvidKeys;
  readonly clock: Clock;
}

const JWT_KEYS = "jwt-svid-keys.json";
const REVOCATIONS = "revocations.json";

/** The Secret that is named after the CA's. */
export function beside({ namespace, name }: SharedSecretOptions["secret"], suffix: string): SharedSecretOptions["secret"] {
  return { namespace, name: `${name}-${suffix}` };
}

function openRevoked(
  options: Pick<SharedSecretOptions, "api" | "logger" | "signal" | "secret">,
  revocations: SharedRevocations,
): Promise<SharedSecret> {
  return openSharedSecret({
    ...options,
    keys: [REVOCATIONS],
    make: () => ({ [REVOCATIONS]: revocations.text }),
    take: (files) => revocations.take(files[REVOCATIONS] ?? ""),
    wanted: (files) => {
      const text = revocations.wanted(files[REVOCATIONS] ?? "");
      return text === undefined ? undefined : { [REVOCATIONS]: text };
    },
  });
}

/** Opens both, with what the others have in force at once. Throws `permission-denied` and `invalid-configuration`. */
export async function openSharedState(options: SharedStateOptions): Promise<{ close(): Promise<void> }> {
  const { api, logger, signal, secret, authority, jwtKeys, clock } = options;
  const common = { api, logger, ...(signal === undefined ? {} : { signal }) };
  const keys: SharedSecret = await openSharedSecret({
    ...common,
    secret: beside(secret, "jwt-keys"),
    keys: [JWT_KEYS],
    make: () => ({ [JWT_KEYS]: jwtKeys.stored }),
    take: (files) => void jwtKeys.adopt(files[JWT_KEYS] ?? ""),
    wanted: (files) => (jwtKeys.adopt(files[JWT_KEYS] ?? "") ? { [JWT_KEYS]: jwtKeys.stored } : undefined),
  });
  const revocations = new SharedRevocations(authority, () => clock.now());
  const revoked = await openRevoked({ ...common, secret: beside(secret, "revocations") }, revocations).catch(async (thrown: unknown) => {
    await keys.close();
    throw thrown;
  });
  jwtKeys.onTurn(() => keys.refresh());
  authority.revocations.onChange(() => revoked.refresh());
  revoked.refresh();
  return {
    close: async () => {
      await Promise.all([keys.close(), revoked.close()]);
    },
  };
}
