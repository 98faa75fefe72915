/** The bundle that replicas serve at their endpoints: numbered in a Secret, so that any of them may be asked. */
import { SharedNumbers } from "../../ca/federation/shared-numbers.ts";
import type { TrustSource } from "../../ca/trust-state.ts";
import type { Clock } from "../../core/clock.ts";
import type { TrustBundle } from "../../identity/trust-bundle.ts";
import { openSharedSecret, type SharedSecretOptions } from "./shared-secret.ts";
import { beside } from "./shared-state.ts";

export interface SharedBundleOptions extends Pick<SharedSecretOptions, "api" | "logger" | "signal"> {
  /** The CA's Secret: the other is named after it. */
  readonly secret: SharedSecretOptions["secret"];
  readonly source: TrustSource;
  readonly clock: Clock;
}

export interface SharedBundle {
  /** Undefined as long as it has no number. */
  readonly bundle: TrustBundle | undefined;
  close(): Promise<void>;
}

const NUMBERS = "numbers.json";
/** What has been held for a while counts though nothing changes. */
const LOOK_MS = 15_000;

/** Throws `permission-denied` and `invalid-configuration`. */
export async function openSharedBundle({ source, clock, secret, ...common }: SharedBundleOptions): Promise<SharedBundle> {
  const numbers = new SharedNumbers({ own: () => source.own, clock });
  const shared = await openSharedSecret({
    ...common,
    secret: beside(secret, "bundle"),
    keys: [NUMBERS],
    make: () => ({ [NUMBERS]: numbers.text }),
    take: (files) => numbers.take(files[NUMBERS] ?? ""),
    wanted: (files) => {
      const text = numbers.wanted(files[NUMBERS] ?? "");
      return text === undefined ? undefined : { [NUMBERS]: text };
    },
  });
  source.onChange(() => shared.refresh());
  const timer = setInterval(() => shared.refresh(), LOOK_MS).unref();
  shared.refresh();
  return {
    get bundle() {
      return numbers.served;
    },
    close: async () => {
      clearInterval(timer);
      await shared.close();
    },
  };
}
