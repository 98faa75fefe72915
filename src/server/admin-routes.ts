/** What the admin socket answers. */
import { viewsOf } from "../analyze/workload-view.ts";
import type { AuditHandler } from "../audit/http.ts";
import type { Authority } from "../ca/authority.ts";
import { formatBundle } from "../ca/federation/bundle-format.ts";
import type { FederatedDomainStatus } from "../ca/federation/federated-domain.ts";
import type { Federation } from "../ca/federation/federation.ts";
import type { MeshRoots, MeshRootsStatus } from "../ca/federation/mesh-roots.ts";
import { authorityRoutes } from "../ca/http.ts";
import type { JoinTokens } from "../ca/join-tokens.ts";
import type { JwtSvidRecord } from "../ca/jwt-svid-record.ts";
import type { TokenIssuer, TokenRotation } from "../ca/service-account-token.ts";
import type { ServingCertificate } from "../ca/serving.ts";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import { formatSpiffeId } from "../identity/spiffe-id.ts";
import type { TrustBundle } from "../identity/trust-bundle.ts";
import type { JwksResolver } from "../jwks/resolver.ts";
import type { XdsConnection } from "../xds/connection.ts";
import type { AdminRoute, AdminRoutes } from "./admin.ts";
import { authoritiesAnswer } from "./authorities.ts";
import type { ClusterStatus } from "./cluster/cluster-status.ts";
import { makeJoinToken } from "./join-token-route.ts";
import type { MeshState } from "./mesh-state.ts";
import { meshStatus } from "./status.ts";
import type { Trust } from "./trust.ts";
import { trustStatus } from "./trust-status.ts";
import { workloadSummaries } from "./workloads.ts";

export interface AdminContext {
  readonly version: string;
  readonly listen: () => string;
  readonly mesh: MeshState;
  readonly jwks: JwksResolver;
  readonly tokens: TokenIssuer;
  readonly authority: Authority;
  readonly serving: Pick<ServingCertificate, "status">;
  readonly clock: Clock;
  /** Revokes, and answers when the proxies have it. */
  readonly revoke: AdminRoute;
  /** Modes of mutual TLS, and who comes without. */
  readonly mtls: AdminRoute;
  /** Of all replicas. */
  readonly ledger: AdminRoutes;
  /** A step of the authority's rotation. */
  readonly rotate: AdminRoute;
  /** The same of the keys of JWT-SVIDs. */
  readonly rotateJwt: AdminRoute;
  readonly joinTokens: JoinTokens;
  readonly jwtSvids: JwtSvidRecord;
  readonly connections: () => readonly XdsConnection[];
  readonly trust: Trust;
  /** The bundle of the own trust domain; undefined as long as it has no number. */
  readonly ownBundle: () => TrustBundle | undefined;
  /** Undefined where no other trust domain is trusted. */
  readonly federation: Federation | undefined;
  /** Of the mesh; none where the configuration is a folder. */
  readonly clusters: () => readonly ClusterStatus[];
  readonly meshRoots: MeshRoots;
  readonly audit: AuditHandler;
}

/** What one answer holds. */
const MAX_JWT_SVIDS = 1_000;
const MAX_JOIN_TOKENS = 1_000;

interface TokenRequest {
  readonly namespace: string;
  readonly name: string;
  readonly audience: string;
  readonly ttlSeconds: number;
}

function decodeTokenRequest(body: unknown): TokenRequest {
  const fields: Readonly<Record<string, unknown>> =
    typeof body === "object" && body !== null ? (body as Readonly<Record<string, unknown>>) : {};
  const { namespace, name, audience, ttlSeconds } = fields;
  if (typeof namespace === "string" && typeof name === "string" && typeof audience === "string" && typeof ttlSeconds === "number") {
    return { namespace, name, audience, ttlSeconds };
  }
  throw new AppError("invalid-argument", "a token request has `namespace`, `name`, `audience` and `ttlSeconds`");
}

/** Replaces the key of tokens; `revoke` refuses those that were made so far. */
function rotateTokenKey({ tokens }: AdminContext, body: unknown): TokenRotation {
  const { revoke } = (typeof body === "object" && body !== null ? body : {}) as Partial<Record<string, unknown>>;
  if (typeof revoke !== "boolean") throw new AppError("invalid-argument", "a change of the key of tokens has `revoke`: true or false");
  return tokens.rotate({ revoke });
}

/** A token for an account that exists; one for another would never be good for anything. */
async function mintToken({ mesh, tokens }: AdminContext, body: unknown): Promise<{ readonly token: string }> {
  const request = decodeTokenRequest(body);
  const { snapshot } = mesh.current;
  const identity = formatSpiffeId({
    trustDomain: snapshot.settings.trustDomain,
    namespace: request.namespace,
    serviceAccount: request.name,
  });
  if (!snapshot.identities.has(identity)) {
    throw new AppError("not-found", `there is no service account \`${request.namespace}/${request.name}\``, {
      help: "add a ServiceAccount to the configuration",
    });
  }
  return { token: await tokens.mint(request) };
}

/** `?workload=NAMESPACE/NAME`, of a workload or of a service. */
function workloadAsked({ searchParams }: URL): string {
  const name = searchParams.get("workload");
  if (name !== null && name !== "") return name;
  throw new AppError("invalid-argument", "the request names no workload", { help: "add `?workload=NAMESPACE/NAME`" });
}

/** The trust domains of the federation's file, and those whose roots the MeshConfig names. */
function federationOf({ federation, meshRoots }: AdminContext): readonly (FederatedDomainStatus | MeshRootsStatus)[] {
  return [...(federation?.statuses ?? []), ...meshRoots.statuses];
}

/** Throws `unavailable` as long as it has no number. */
function bundleOf({ ownBundle }: AdminContext): { readonly bundle: string } {
  const own = ownBundle();
  if (own === undefined) throw new AppError("unavailable", "the bundle has no number yet that replicas share");
  return { bundle: formatBundle(own) };
}

/** The routes of a control plane. */
export function adminRoutes(context: AdminContext): AdminRoutes {
  const { mesh } = context;
  return {
    "GET /v1/ready": () => ({ ready: true }),
    "GET /v1/status": () => ({
      version: context.version,
      listen: context.listen(),
      trustDomain: mesh.current.snapshot.settings.trustDomain,
      pid: process.pid,
      rssBytes: process.memoryUsage.rss(),
      uptimeSeconds: process.uptime(),
      ca: context.authority.status,
      serving: context.serving.status,
      clusters: context.clusters(),
      federation: federationOf(context),
      jwks: context.jwks.statuses(),
      ...meshStatus(mesh.current, context.connections()),
    }),
    "GET /v1/workloads": () => workloadSummaries(mesh.current),
    "GET /v1/policy": ({ url }) => viewsOf(mesh.current, workloadAsked(url)),
    "GET /v1/jwks": () => context.jwks.statuses(),
    "GET /v1/jwt-svids": () => context.jwtSvids.newest(MAX_JWT_SVIDS),
    "GET /v1/join-tokens": () => context.joinTokens.list(MAX_JOIN_TOKENS),
    "POST /v1/join-tokens": ({ body }) => makeJoinToken(context, body),
    "POST /v1/tokens": ({ body }) => mintToken(context, body),
    "POST /v1/tokens/rotate": ({ body }) => rotateTokenKey(context, body),
    ...authorityRoutes(context.authority, context.clock),
    ...context.ledger,
    "POST /v1/ca/revoke": context.revoke,
    "POST /v1/ca/rotate": context.rotate,
    "POST /v1/ca/rotate-jwt": context.rotateJwt,
    "GET /v1/ca/authorities": () =>
      authoritiesAnswer(context.authority, context.trust, context.meshRoots, context.connections(), context.clock),
    "GET /v1/ca/trust": () => trustStatus(context.trust, context.connections()),
    "GET /v1/clusters": () => context.clusters(),
    "GET /v1/federation": () => federationOf(context),
    "GET /v1/federation/bundle": () => bundleOf(context),
    "GET /v1/mtls": context.mtls,
    "GET /v1/audit": ({ url }, response) => context.audit({ url }, response),
  };
}
