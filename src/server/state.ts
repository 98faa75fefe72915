/** What a control plane keeps: its CA, its keys and its records, each opened once and closed in order. */
import { join, resolve } from "node:path";
import { AuditStore } from "../audit/store.ts";
import { JoinTokens } from "../ca/join-tokens.ts";
import { JwtSvidKeys } from "../ca/jwt-svid-keys.ts";
import { JWT_SVIDS_FILE, JwtSvidRecord } from "../ca/jwt-svid-record.ts";
import { followIntoLog } from "../ca/ledger-follow.ts";
import { TokenIssuer } from "../ca/service-account-token.ts";
import { ensurePrivateFolder } from "../ca/state-files.ts";
import type { TrustSource } from "../ca/trust-state.ts";
import type { Clock } from "../core/clock.ts";
import type { KubernetesApi } from "../sources/kubernetes/api.ts";
import { openCaSecret } from "./cluster/ca-secret.ts";
import type { ClusterPlace } from "./cluster/place.ts";
import { openSharedBundle } from "./cluster/shared-bundle.ts";
import { openSharedState } from "./cluster/shared-state.ts";
import type { ControlPlaneOptions } from "./control-plane-options.ts";
import { openIssuers } from "./issuers.ts";
import { openCa } from "./open-ca.ts";

/** The state that a control plane keeps on disk, opened. */
export async function openState(options: ControlPlaneOptions, clock: Clock) {
  const { settings, logger } = options;
  const folder = resolve(options.state);
  const crlUrl = options.crlUrl === undefined ? {} : { crlUrl: options.crlUrl };
  const authority = await openCa({ stateFolder: folder, trustDomain: settings.trustDomain, clock, logger, ...crlUrl }, options.ca);
  const tokens = new TokenIssuer({ stateFolder: folder, issuer: `https://${settings.trustDomain}`, clock });
  const joinTokens = new JoinTokens(join(folder, "join-tokens.sqlite"), clock);
  const jwtKeys = new JwtSvidKeys({ stateFolder: folder, clock });
  const jwtRecord = new JwtSvidRecord(join(folder, JWT_SVIDS_FILE));
  const { ledger, revocations } = authority;
  const stopFollowing = followIntoLog({ ledger, revocations, jwtSvids: jwtRecord, clock, logger });
  const issuers = openIssuers({
    file: options.issuersFile,
    trustDomain: settings.trustDomain,
    ownIssuer: tokens.issuer,
    folder,
    allowed: options.jwksAllow ?? [],
    clock,
    logger,
  });
  const maxBytes = options.recordMaxBytes === undefined ? {} : { maxBytes: options.recordMaxBytes };
  const store = new AuditStore({ file: join(folder, "audit.sqlite"), clock, logger, ...maxBytes });
  const close = async (): Promise<void> => {
    store.close();
    issuers.close();
    stopFollowing();
    // What cannot be written is added by the next start.
    await authority.log.committed().catch(() => undefined);
    jwtRecord.close();
    joinTokens.close();
    authority.close();
  };
  return { folder, authority, tokens, joinTokens, jwtKeys, jwtRecord, issuers, store, close };
}

export type State = Awaited<ReturnType<typeof openState>>;

/** The CA that the replicas of a cluster share; undefined where this control plane has its own. */
export async function openSharedCa(api: KubernetesApi, { caSecret: secret }: ClusterPlace, options: ControlPlaneOptions, clock: Clock) {
  if (secret === undefined) return undefined;
  const { state, settings, logger, signal } = options;
  const folder = join(resolve(state), "ca-secret");
  ensurePrivateFolder(resolve(state));
  const { trustDomain } = settings;
  const common = { api, logger, clock, secret, ...(signal === undefined ? {} : { signal }) };
  const opened = await openCaSecret({ ...common, folder, trustDomain, keySpec: options.ca?.keySpec });
  return {
    ca: { ca: { folder } },
    openState: ({ authority, jwtKeys }: State) => openSharedState({ ...common, authority, jwtKeys }),
    openBundle: (source: TrustSource) => openSharedBundle({ ...common, source }),
    close: () => opened.close(),
  };
}
