/** `garrison.v1.JwtSvidAuthority`: agents ask for JWT-SVIDs of their own identity, and for the keys that verify everybody's. */
import { create } from "@bufbuild/protobuf";
import type { ServerUnaryCall, sendUnaryData } from "@grpc/grpc-js";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import {
  type GetJwtBundleRequest,
  type GetJwtBundleResponse,
  GetJwtBundleResponseSchema,
  type IssueJwtSvidRequest,
  type IssueJwtSvidResponse,
  IssueJwtSvidResponseSchema,
} from "../gen/garrison/v1/identity_pb.js";
import { formatSpiffeId, type SpiffeId } from "../identity/spiffe-id.ts";
import { peerCertificateOf } from "../rpc/peer-certificate.ts";
import { RateLimit } from "../rpc/rate-limit.ts";
import { toGrpcStatus } from "../rpc/status.ts";
import type { Authenticator } from "./authenticators.ts";
import type { JwtSvid, JwtSvidRequest } from "./jwt-svid.ts";
import { servingIdentity } from "./serving.ts";

export interface JwtSvidServiceOptions {
  /** By the client certificate alone: a token must not beget tokens. */
  readonly authenticator: Authenticator;
  /** Whether the service account of an identity exists. */
  readonly knows: (identity: SpiffeId) => boolean;
  readonly issue: (request: JwtSvidRequest) => JwtSvid;
  /** The bundle of the trust domain. */
  readonly jwks: () => string;
  /** Told of each refusal, for the ledger. */
  readonly recordRefusal: (identity: string, error: AppError) => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Of one identity: agents keep tokens for half of their life, so that these are many audiences, or a fault. */
const PER_SECOND = 50;
const AT_ONCE = 200;

type Call<Request, Response> = ServerUnaryCall<Request, Response>;

async function callerOf(call: Call<unknown, unknown>, { authenticator, knows }: JwtSvidServiceOptions): Promise<SpiffeId> {
  const certificate = peerCertificateOf(call)?.raw;
  const proof = await authenticator.authenticate({ certificate, authorization: [] });
  if (proof === undefined) {
    throw new AppError("unauthenticated", "the connection has no verified client certificate", {
      help: "connect with the workload's certificate",
    });
  }
  const { identity } = proof;
  if (formatSpiffeId(identity) === formatSpiffeId(servingIdentity(identity.trustDomain)))
    throw new AppError("permission-denied", "the identity of the control plane is not given out");
  if (knows(identity)) return identity;
  throw new AppError("permission-denied", `the service account \`${identity.namespace}/${identity.serviceAccount}\` does not exist`);
}

function answer<Response>(callback: sendUnaryData<Response>, work: Promise<Response>): void {
  work.then(
    (response) => callback(null, response),
    (thrown: unknown) => callback(toGrpcStatus(AppError.from(thrown))),
  );
}

/** The service's handlers, for `server.addService(serviceDefinition(JwtSvidAuthority), …)`. */
export function jwtSvidService(options: JwtSvidServiceOptions) {
  const { issue, jwks, recordRefusal, clock, logger } = options;
  const limit = new RateLimit({ perSecond: PER_SECOND, atOnce: AT_ONCE, clock });

  async function handle(call: Call<IssueJwtSvidRequest, IssueJwtSvidResponse>): Promise<IssueJwtSvidResponse> {
    let caller: string | undefined;
    try {
      const identity = await callerOf(call, options);
      caller = formatSpiffeId(identity);
      limit.take(caller);
      const { audiences, ttlSeconds } = call.request;
      const { token, id, issuedAt, expiresAt } = issue({ identity, audiences, ttlSeconds });
      logger.log("info", "JWT-SVID issued", {
        identity: caller,
        id,
        audiences: audiences.join(","),
        expires: new Date(expiresAt).toISOString(),
      });
      return create(IssueJwtSvidResponseSchema, { token, issuedAtMs: BigInt(issuedAt), expiresAtMs: BigInt(expiresAt) });
    } catch (thrown) {
      const error = AppError.from(thrown);
      recordRefusal(caller ?? "", error);
      logger.log("warn", "JWT-SVID refused", { identity: caller ?? "", peer: call.getPeer(), code: error.code, reason: error.message });
      throw error;
    }
  }

  return {
    IssueJwtSvid(call: Call<IssueJwtSvidRequest, IssueJwtSvidResponse>, callback: sendUnaryData<IssueJwtSvidResponse>): void {
      answer(callback, handle(call));
    },
    GetJwtBundle(call: Call<GetJwtBundleRequest, GetJwtBundleResponse>, callback: sendUnaryData<GetJwtBundleResponse>): void {
      answer(
        callback,
        callerOf(call, options).then(() => create(GetJwtBundleResponseSchema, { jwks: jwks() })),
      );
    },
  };
}
