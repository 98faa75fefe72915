/** An authorizer that is asked by `envoy.service.auth.v3.Authorization/Check`, over the proxy's own HTTP/2. */
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { GrpcAuthorizer } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import { HeaderValueOption_HeaderAppendAction as AppendAction, type HeaderValueOption } from "../gen/envoy/config/core/v3/base_pb.js";
import {
  Authorization,
  CheckRequestSchema,
  type CheckResponse,
  CheckResponseSchema,
  type DeniedHttpResponse,
  type OkHttpResponse,
} from "../gen/envoy/service/auth/v3/external_auth_pb.js";
import { type Answer, call } from "./authorizer-call.ts";
import {
  type HeaderChange,
  isAnswerable,
  isFinalStatus,
  isWellFormed,
  isWritable,
  NO_CHANGES,
  type Verdict,
} from "./authorizer-verdict.ts";
import { type Check, toCheckRequest } from "./check.ts";
import { valuesOf } from "./headers.ts";
import type { RequestHead } from "./message.ts";
import type { Upstream } from "./upstream.ts";

const PATH = `/${Authorization.typeName}/${Authorization.method.check.name}`;
const FRAME_HEAD = 5;
const FORBIDDEN = 403;

/** A length-prefixed message (gRPC over HTTP/2, "Length-Prefixed-Message"). */
function frame(message: Uint8Array): Buffer {
  const head = Buffer.alloc(FRAME_HEAD);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** The only message of a whole answer. Throws `unavailable` for anything else. */
function unframe({ status, headers, trailers, body }: Answer): CheckResponse {
  const [grpcStatus] = [...valuesOf(trailers, "grpc-status"), ...valuesOf(headers, "grpc-status")];
  if (status !== 200 || grpcStatus !== "0")
    throw new AppError("unavailable", `it answered with status ${status} and gRPC status ${grpcStatus?.slice(0, 3) ?? "none"}`);
  if (body.length < FRAME_HEAD || body[0] !== 0 || body.readUInt32BE(1) !== body.length - FRAME_HEAD)
    throw new AppError("unavailable", "its answer is not one message");
  return fromBinary(CheckResponseSchema, body.subarray(FRAME_HEAD));
}

function questionOf({ upstream, timeoutMs }: GrpcAuthorizer, length: number): RequestHead {
  const timeout = ["grpc-timeout", `${Math.min(Math.ceil(timeoutMs), 99_999_999)}m`];
  return {
    method: "POST",
    version: "2",
    authority: `outbound_.${upstream.port}_._.${upstream.host}`,
    path: { path: PATH, query: "" },
    headers: ["content-type", "application/grpc", "te", "trailers", ...timeout],
    bodyLength: length,
    webSocket: false,
    expectsContinue: false,
  };
}

const RESPONSE_CHANGES: Readonly<Record<AppendAction, HeaderChange["how"]>> = {
  [AppendAction.APPEND_IF_EXISTS_OR_ADD]: "add",
  [AppendAction.ADD_IF_ABSENT]: "add-if-absent",
  [AppendAction.OVERWRITE_IF_EXISTS]: "set-if-present",
  [AppendAction.OVERWRITE_IF_EXISTS_OR_ADD]: "set",
};

/** Of requests and denials: `append` is false where it is not said. */
function requestChange({ header, append }: HeaderValueOption): HeaderChange {
  return { name: header?.key.toLowerCase() ?? "", value: textOf(header), how: append === true ? "append" : "set" };
}

function responseChange({ header, append, appendAction }: HeaderValueOption): HeaderChange {
  const how = append === undefined ? RESPONSE_CHANGES[appendAction] : append ? "add" : "set";
  return { name: header?.key.toLowerCase() ?? "", value: textOf(header), how };
}

function textOf(header: HeaderValueOption["header"]): string {
  const { value = "", rawValue = new Uint8Array() } = header ?? {};
  return value === "" ? Buffer.from(rawValue).toString("latin1") : Buffer.from(value).toString("latin1");
}

function allowedBy(ok: OkHttpResponse | undefined): Verdict {
  if (ok === undefined) return { kind: "allow", changes: NO_CHANGES };
  return {
    kind: "allow",
    changes: {
      request: ok.headers.map(requestChange).filter(({ name }) => isWritable(name)),
      removed: ok.headersToRemove.map((name) => name.toLowerCase()).filter(isWritable),
      response: ok.responseHeadersToAdd.map(responseChange).filter(({ name }) => isAnswerable(name)),
      querySet: ok.queryParametersToSet.map(({ key, value }) => [key, value]),
      queryRemoved: ok.queryParametersToRemove,
    },
  };
}

function deniedBy(denied: DeniedHttpResponse | undefined): Verdict {
  const status = denied?.status?.code ?? 0;
  const headers = denied?.headers.map(requestChange).flatMap(({ name, value }) => [name, value]) ?? [];
  return { kind: "deny", status: status > 0 ? status : FORBIDDEN, headers, body: Buffer.from(denied?.body ?? "") };
}

/** An answer that would write what is no header, or no status, is not followed at all. */
function checked(verdict: Verdict): Verdict {
  const changes = verdict.kind === "allow" ? [...verdict.changes.request, ...verdict.changes.response] : [];
  const denied = verdict.kind === "deny" ? verdict.headers : [];
  const pairs = [
    ...changes.map(({ name, value }) => [name, value]),
    ...denied.flatMap((name, at) => (at % 2 === 0 ? [[name, denied[at + 1]]] : [])),
  ];
  const bad =
    pairs.some(([name = "", value = ""]) => !isWellFormed(name, value)) || (verdict.kind === "deny" && !isFinalStatus(verdict.status));
  return bad ? { kind: "deny", status: 500, headers: [], body: Buffer.alloc(0) } : verdict;
}

/** Asks. Rejects as `call`, and with `unavailable` for an answer that cannot be read. */
export async function askOverGrpc(authorizer: GrpcAuthorizer, upstream: Upstream, check: Check): Promise<Verdict> {
  const packAsBytes = authorizer.includeRequestBodyInCheck?.packAsBytes === true;
  const body = frame(toBinary(CheckRequestSchema, toCheckRequest(check, packAsBytes)));
  const { status, httpResponse } = unframe(await call(upstream, questionOf(authorizer, body.length), body, authorizer.timeoutMs));
  if ((status?.code ?? 0) === 0) return checked(allowedBy(httpResponse.case === "okResponse" ? httpResponse.value : undefined));
  return checked(deniedBy(httpResponse.case === "deniedResponse" ? httpResponse.value : undefined));
}
