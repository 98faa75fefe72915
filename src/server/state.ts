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

/** The state that a control plane keeps on disk; `opened` closes it, also what of it is open where the rest cannot be. */
export async function openState(options: ControlPlaneOptions, clock: Clock, opened: AsyncDisposableStack) {
  const { settings, logger } = options;
  const folder = resolve(options.state);
  const crlUrl = options.crlUrl === undefined ? {} : { crlUrl: options.crlUrl };
  const ca = { stateFolder: folder, trustDomain: settings.trustDomain, clock, logger, ...crlUrl };
  const authority = opened.adopt(await openCa(ca, options.ca), (each) => each.close());
  const tokens = new TokenIssuer({ stateFolder: folder, issuer: `https://${settings.trustDomain}`, clock });
  const joinTokens = opened.adopt(new JoinTokens(join(folder, "join-tokens.sqlite"), clock), (each) => each.close());
  const jwtKeys = new JwtSvidKeys({ stateFolder: folder, clock });
  const jwtRecord = opened.adopt(new JwtSvidRecord(join(folder, JWT_SVIDS_FILE)), (each) => each.close());
  const { ledger, revocations } = authority;
  // What cannot be written is added by the next start.
  opened.defer(() => authority.log.committed().catch(() => undefined));
  opened.defer(followIntoLog({ ledger, revocations, jwtSvids: jwtRecord, clock, logger }));
  const outside = {
    file: options.issuersFile,
    trustDomain: settings.trustDomain,
    ownIssuer: tokens.issuer,
    folder,
    allowed: options.jwksAllow ?? [],
    clock,
    logger,
  };
  const issuers = opened.adopt(openIssuers(outside), (each) => each.close());
  const maxBytes = options.recordMaxBytes === undefined ? {} : { maxBytes: options.recordMaxBytes };
  const store = opened.adopt(new AuditStore({ file: join(folder, "audit.sqlite"), clock, logger, ...maxBytes }), (each) => each.close());
  return { folder, authority, tokens, joinTokens, jwtKeys, jwtRecord, issuers, store };
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
