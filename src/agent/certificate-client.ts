/**
 * Asks the control plane for certificates: `istio.v1.auth.IstioCertificateService/CreateCertificate` over TLS, from a
 * server that proves to be the control plane, with a new key each time.
 */

import type { KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { PeerCertificate } from "node:tls";
import { Client, type ClientOptions, Metadata, type ServiceError } from "@grpc/grpc-js";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import { formatSpiffeId } from "../identity/spiffe-id.ts";
import { clientCredentials, RotatingTlsMaterial, tlsChannelOptions } from "../rpc/credentials.ts";
import { fromGrpcError } from "../rpc/status.ts";
import { parseCertificate, svidIdentity } from "../x509/certificate.ts";
import { buildCsr, generateKey } from "../x509/csr-builder.ts";
import type { CertificateAnswer, RequestCertificate } from "./certificate-manager.ts";
import { type CertificateChainMessage, type CertificateRequestMessage, CREATE_CERTIFICATE } from "./csr-messages.ts";
import { checkIssuedCertificate, exportKey, type IssuedCertificate } from "./issued-certificate.ts";

export interface ControlPlane {
  /** A host name or an IP address. */
  readonly address: string;
  readonly port: number;
  /** The SPIFFE ID that its certificate must carry. */
  readonly identity: string;
}

export interface CertificateClientOptions {
  /** The workload's SPIFFE ID. */
  readonly identity: string;
  readonly controlPlane: ControlPlane;
  /** PEM; read at each call, so that a changed file counts. */
  readonly rootCertificateFile: string;
  /** Read at each call (AG-6): tokens are replaced long before they expire. */
  readonly tokenFile: string | undefined;
  /** 0 for the control plane's default. */
  readonly ttlSeconds: number;
  readonly clock: Clock;
  /** How long one call may take, with its connection; 10 s without. */
  readonly deadlineMs?: number;
}

const DEADLINE_MS = 10_000;
/** Leaf, intermediates and a bundle of roots. */
const MAX_ANSWER_BYTES = 512 * 1024;
const MAX_TOKEN_CHARACTERS = 16 * 1024;
/** RFC 6750 §2.1. */
const TOKEN = /^[A-Za-z0-9._~+/-]+=*$/;

/** One connection for one call, half a day apart: nothing is kept open, and each call sees the newest files. */
function channelOptions(controlPlane: ControlPlane): ClientOptions {
  return {
    "grpc.enable_http_proxy": 0,
    "grpc.enable_channelz": 0,
    "grpc.use_local_subchannel_pool": 1,
    "grpc.max_receive_message_length": MAX_ANSWER_BYTES,
    ...tlsChannelOptions(hostAndPort(controlPlane)),
  };
}

/** The request that a `CertificateManager` makes. It never throws: every failure is an answer. */
export function createCertificateClient(options: CertificateClientOptions): RequestCertificate {
  return async (current) => {
    try {
      return { kind: "issued", certificate: await requestCertificate(options, current) };
    } catch (thrown) {
      return failed(AppError.from(thrown));
    }
  };
}

async function requestCertificate(options: CertificateClientOptions, current: IssuedCertificate | undefined): Promise<IssuedCertificate> {
  const { identity, controlPlane, clock, ttlSeconds, deadlineMs = DEADLINE_MS } = options;
  const [roots, metadata] = await Promise.all([trustedRoots(options.rootCertificateFile, current), bearerToken(options.tokenFile)]);
  const privateKey = generateKey();
  const server = new ServerCheck(controlPlane.identity);
  const material = current === undefined ? undefined : tlsMaterial(current.privateKey, current.chain);
  const credentials = clientCredentials(new RotatingTlsMaterial({ key: "", chain: "", roots }), material, server.check);
  const client = new Client(`dns:${hostAndPort(controlPlane)}`, credentials, channelOptions(controlPlane));
  try {
    const request = { csr: buildCsr(privateKey, identity), ttlSeconds };
    const elements = await callCreateCertificate(client, request, metadata, deadlineMs);
    return checkIssuedCertificate({ elements, privateKey, identity, now: clock.now() });
  } catch (thrown) {
    throw server.refusal ?? explainUnreachable(AppError.from(thrown), controlPlane);
  } finally {
    client.close();
  }
}

const tlsMaterial = (privateKey: KeyObject, chain: string) => new RotatingTlsMaterial({ key: exportKey(privateKey), chain, roots: "" });

const hostAndPort = ({ address, port }: ControlPlane) => (address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`);

/** The file's roots and those of the last answer: during a rotation of the root, either may be the newer. */
async function trustedRoots(file: string, current: IssuedCertificate | undefined): Promise<string> {
  try {
    return `${await readFile(file, "utf8")}\n${current?.roots ?? ""}`;
  } catch (cause) {
    if (current !== undefined) return current.roots;
    throw new AppError("not-found", `the root certificate \`${file}\` cannot be read`, {
      cause,
      help: "copy `ca/root-cert.pem` from the control plane's state folder to this machine",
    });
  }
}

/** The call's metadata: a bearer token, or nothing where there is no file (a client certificate may do, AG-6). */
async function bearerToken(file: string | undefined): Promise<Metadata> {
  const metadata = new Metadata();
  if (file === undefined) return metadata;
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return metadata;
    throw new AppError("not-found", `the token file \`${file}\` cannot be read`, { cause, help: "make it readable for the agent's user" });
  }
  const token = text.trim();
  if (token.length > MAX_TOKEN_CHARACTERS || !TOKEN.test(token)) {
    throw new AppError("invalid-argument", `the token file \`${file}\` does not hold one token`, {
      help: "write a service-account token into it, and nothing else",
    });
  }
  metadata.set("authorization", `Bearer ${token}`);
  return metadata;
}

/** Judges the server of one call, after its chain has been verified. */
class ServerCheck {
  refusal: AppError | undefined;
  readonly #identity: string;

  constructor(identity: string) {
    this.#identity = identity;
  }

  readonly check = (certificate: PeerCertificate): Error | undefined => {
    this.refusal = this.#judge(certificate);
    return this.refusal;
  };

  #judge({ raw }: PeerCertificate): AppError | undefined {
    try {
      const found = formatSpiffeId(svidIdentity(parseCertificate(raw)));
      if (found === this.#identity) return undefined;
      return new AppError("unauthenticated", `the server is \`${found}\` and not the control plane \`${this.#identity}\``, {
        help: "check the control plane's address, and who answers there",
      });
    } catch (cause) {
      return new AppError("unauthenticated", `the server is not the control plane: ${AppError.from(cause).message}`, { cause });
    }
  }
}

/** How grpc-js words that there is no connection, with the reason inside. */
const NO_CONNECTION = /^No connection established\. Last error: (?:[A-Za-z]*Error: )?(.*?)\.? Resolution note: /;

function explainUnreachable(error: AppError, controlPlane: ControlPlane): AppError {
  const [, reason] = NO_CONNECTION.exec(error.message) ?? [];
  if (reason === undefined) return error;
  const help = /certificate/.test(reason)
    ? "is the root certificate file the one of this control plane?"
    : "is the control plane running, and is this its address?";
  return new AppError("unavailable", `cannot reach the control plane at \`${hostAndPort(controlPlane)}\`: ${reason}`, {
    cause: error.cause,
    help,
  });
}

function callCreateCertificate(
  client: Client,
  request: CertificateRequestMessage,
  metadata: Metadata,
  deadlineMs: number,
): Promise<CertificateChainMessage> {
  const { path, requestSerialize, responseDeserialize } = CREATE_CERTIFICATE;
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadata,
      { deadline: Date.now() + deadlineMs },
      (error, response) => {
        if (error !== null) reject(fromGrpcError(error));
        else if (response === undefined) reject(new AppError("internal", "the control plane gave an empty answer"));
        else resolve(response);
      },
    );
  });
}

/** The least wait that the server asks for, in `grpc-retry-pushback-ms` (gRPC's retry design, A6), as it says when it is busy. */
function failed(error: AppError): CertificateAnswer {
  const { cause } = error;
  const hint = isServiceError(cause) ? Number(cause.metadata.get("grpc-retry-pushback-ms")[0] ?? 0) : 0;
  return { kind: "failed", error, retryAfterMs: Number.isFinite(hint) ? Math.max(0, hint) : 0 };
}

function isServiceError(cause: unknown): cause is ServiceError {
  return cause instanceof Error && "metadata" in cause && cause.metadata instanceof Metadata;
}
