/** Istio's certificate service: `istio.v1.auth.IstioCertificateService` (Istio `security/pkg/server/ca`). */
import { create } from "@bufbuild/protobuf";
import type { ServerUnaryCall, sendUnaryData } from "@grpc/grpc-js";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { type IstioCertificateRequest, type IstioCertificateResponse, IstioCertificateResponseSchema } from "../gen/istio/v1/auth/ca_pb.js";
import { formatSpiffeId, parseSpiffeId, type SpiffeId } from "../identity/spiffe-id.ts";
import { toGrpcStatus } from "../rpc/status.ts";
import { type Authenticator, credentialsOf, type Proof, provenCaller } from "./authenticators.ts";
import type { Authority, RecordedCertificate } from "./authority.ts";
import { impersonationRefused, type NodeProxies } from "./node-proxies.ts";
import { servingIdentity } from "./serving.ts";

export interface CertificateServiceOptions {
  readonly authority: Authority;
  /** Tried in order; the first that proves an identity decides. */
  readonly authenticators: readonly Authenticator[];
  /** Whether the service account of an identity exists. */
  readonly knows: (identity: SpiffeId) => boolean;
  readonly logger: Logger;
  /** SPIFFE IDs of those who may have certificates of every identity of the trust domain: other control planes, which decide who gets one. */
  readonly registrationAuthorities?: ReadonlySet<string>;
  /** Those who may have certificates of the workloads of their own node. */
  readonly nodeProxies?: NodeProxies;
}

type Call = ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>;

/** For `server.addService(serviceDefinition(IstioCertificateService), …)`. */
export interface CertificateService {
  CreateCertificate(call: Call, callback: sendUnaryData<IstioCertificateResponse>): void;
}

function checkNotOwn(identity: SpiffeId, { trustDomain }: Authority): void {
  if (formatSpiffeId(identity) === formatSpiffeId(servingIdentity(trustDomain)))
    throw new AppError("permission-denied", "the identity of the control plane is not given out");
}

function checkCaller({ identity }: Proof, { authority, knows }: CertificateServiceOptions): void {
  checkNotOwn(identity, authority);
  if (!knows(identity))
    throw new AppError("unauthenticated", `the service account \`${identity.namespace}/${identity.serviceAccount}\` does not exist`);
}

/**
 * For whom the certificate is, by what Istio's metadata asks for beyond the CSR: the caller, or whom a registration authority or a node proxy names. All else is refused: to pass over
 * it would give the caller another certificate than it asked for.
 */
function subjectOf(
  caller: Proof,
  { metadata }: IstioCertificateRequest,
  { registrationAuthorities, nodeProxies, authority }: CertificateServiceOptions,
): Proof {
  if (metadata?.CertSigner !== undefined) throw new AppError("invalid-argument", "`CertSigner` is not supported: this CA signs by itself");
  const asked = metadata?.ImpersonatedIdentity;
  if (asked === undefined) return caller;
  const registrar = formatSpiffeId(caller.identity);
  if (typeof asked !== "string") throw impersonationRefused("`ImpersonatedIdentity` is no text");
  const identity = parseSpiffeId(asked);
  if (registrationAuthorities?.has(registrar) !== true) {
    checkNotOwn(identity, authority);
    if (nodeProxies === undefined) throw impersonationRefused("the caller is no registration authority");
    nodeProxies.check(caller, identity);
  }
  return { ...caller, identity, by: `${caller.by} of ${registrar}` };
}

function responseOf({ leaf, intermediates, roots }: RecordedCertificate): IstioCertificateResponse {
  return create(IstioCertificateResponseSchema, { certChain: [leaf, ...intermediates, roots] });
}

function uriOf(caller: Proof | undefined): string {
  return caller === undefined ? "" : formatSpiffeId(caller.identity);
}

/** One request: who asks, then the certificate. Each way out writes one line to the log and one row to the ledger. */
class RequestHandler {
  readonly #options: CertificateServiceOptions;

  constructor(options: CertificateServiceOptions) {
    this.#options = options;
  }

  async handle(call: Call): Promise<IstioCertificateResponse> {
    const caller = await this.#admit(call);
    try {
      return responseOf(await this.#issue(call.request, caller));
    } catch (error) {
      throw this.#logRefusal(call, caller, error);
    }
  }

  async #admit(call: Call): Promise<Proof> {
    let caller: Proof | undefined;
    try {
      caller = await provenCaller(this.#options.authenticators, credentialsOf(call));
      checkCaller(caller, this.#options);
      return subjectOf(caller, call.request, this.#options);
    } catch (error) {
      const refusal = this.#logRefusal(call, caller, error);
      this.#options.authority.recordRefusal(caller?.by ?? "nobody", uriOf(caller), refusal);
      throw refusal;
    }
  }

  /** The authority records its own refusals. */
  async #issue({ csr, validityDuration }: IstioCertificateRequest, { identity, by }: Proof): Promise<RecordedCertificate> {
    const { authority } = this.#options;
    const issued = await authority.recorded(await authority.issue({ csr, identity, ttlSeconds: Number(validityDuration), caller: by }));
    const notAfter = new Date(issued.notAfter).toISOString();
    this.#options.logger.log("info", "certificate issued", { identity: formatSpiffeId(identity), by, serial: issued.serial, notAfter });
    return issued;
  }

  #logRefusal(call: Call, caller: Proof | undefined, error: unknown): AppError {
    const refusal = AppError.from(error);
    const fields = { identity: uriOf(caller), by: caller?.by ?? "nobody", peer: call.getPeer() };
    this.#options.logger.log("warn", "certificate refused", { ...fields, code: refusal.code, reason: refusal.message });
    return refusal;
  }
}

/** The service's handlers. */
export function certificateService(options: CertificateServiceOptions): CertificateService {
  const handler = new RequestHandler(options);
  return {
    CreateCertificate(call, callback) {
      handler.handle(call).then(
        (response) => callback(null, response),
        (error: unknown) => callback(toGrpcStatus(AppError.from(error))),
      );
    },
  };
}
