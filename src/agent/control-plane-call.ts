/** One call to the control plane over TLS, to a server that proves to be it. */
import type { KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { PeerCertificate } from "node:tls";
import { Client, type ClientOptions, type Metadata, type MethodDefinition } from "@grpc/grpc-js";
import { AppError } from "../core/error.ts";
import { formatSpiffeId } from "../identity/spiffe-id.ts";
import { clientCredentials, RotatingTlsMaterial, tlsChannelOptions, unneeded } from "../rpc/credentials.ts";
import { fromGrpcError } from "../rpc/status.ts";
import { parseCertificate, svidIdentity } from "../x509/certificate.ts";
import { exportKey } from "./issued-certificate.ts";

export interface ControlPlane {
  /** A host name or an IP address. */
  readonly address: string;
  readonly port: number;
  /** The SPIFFE ID that its certificate must carry. */
  readonly identity: string;
}

/** What a caller presents, and what it has learnt of the roots. */
export interface CallerCertificate {
  readonly privateKey: KeyObject;
  /** PEM. */
  readonly chain: string;
  /** PEM. */
  readonly roots: string;
}

export interface CallOptions {
  readonly controlPlane: ControlPlane;
  /** PEM; read at each call, so that a changed file counts. */
  readonly rootCertificateFile: string;
  readonly certificate: CallerCertificate | undefined;
  /** PEM, besides those of the file; those of the certificate without. */
  readonly roots?: string | undefined;
  readonly metadata: Metadata;
  /** How long the call may take, with its connection. */
  readonly deadlineMs: number;
}

/** The half of a method that a client needs. */
export type ClientMethod<Request, Response> = Pick<
  MethodDefinition<Request, Response>,
  "path" | "requestSerialize" | "responseDeserialize"
>;

/** Leaf, intermediates and a bundle of roots; or a set of keys. */
const MAX_ANSWER_BYTES = 512 * 1024;

/** One connection for one call: nothing is kept open, and each call sees the newest files. */
function channelOptions(controlPlane: ControlPlane): ClientOptions {
  return {
    "grpc.enable_http_proxy": 0,
    "grpc.enable_channelz": 0,
    "grpc.use_local_subchannel_pool": 1,
    "grpc.max_receive_message_length": MAX_ANSWER_BYTES,
    ...tlsChannelOptions(hostAndPort(controlPlane)),
  };
}

/** A connection of its own, and what is known of the server there when a call fails. */
export interface ControlPlaneClient {
  readonly client: Client;
  /** Why a call failed: `unauthenticated` for a server that is not the control plane, `unavailable` for none, else the server's refusal. */
  explain(thrown: unknown): AppError;
  close(): void;
}

/** A client that presents the certificate and trusts the roots of this moment. Throws `not-found` where there are none. */
export async function connectControlPlane(
  options: Pick<CallOptions, "controlPlane" | "rootCertificateFile" | "certificate" | "roots">,
  extra: ClientOptions = {},
): Promise<ControlPlaneClient> {
  const { controlPlane, certificate } = options;
  const roots = await trustedRoots(options.rootCertificateFile, options.roots ?? certificate?.roots);
  const server = new ServerCheck(controlPlane.identity);
  const material = certificate === undefined ? undefined : tlsMaterial(certificate);
  const credentials = clientCredentials(new RotatingTlsMaterial({ key: "", chain: "", roots }), material, server.check);
  const client = new Client(`dns:${hostAndPort(controlPlane)}`, credentials, { ...channelOptions(controlPlane), ...extra });
  const close = (): void => {
    server.isOver = true;
    client.close();
  };
  return { client, close, explain: (thrown) => server.refusal ?? explainUnreachable(AppError.from(thrown), controlPlane) };
}

/** Calls one method. Throws the server's refusal, `unauthenticated` for a server that is not the control plane, `unavailable` for none. */
export async function callControlPlane<Request, Response>(
  options: CallOptions,
  method: ClientMethod<Request, Response>,
  request: Request,
): Promise<Response> {
  const { client, explain, close } = await connectControlPlane(options);
  try {
    return await callMethod(client, method, request, options.metadata, options.deadlineMs);
  } catch (thrown) {
    throw explain(thrown);
  } finally {
    close();
  }
}

const tlsMaterial = ({ privateKey, chain }: CallerCertificate) => new RotatingTlsMaterial({ key: exportKey(privateKey), chain, roots: "" });

const hostAndPort = ({ address, port }: ControlPlane) => (address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`);

/** The file's roots and those that the agent has learnt: during a rotation of the root, either may be the newer. */
async function trustedRoots(file: string, learnt: string | undefined): Promise<string> {
  const help = "copy `ca/root-cert.pem` from the control plane's state folder to this machine";
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    if (learnt !== undefined) return learnt;
    throw new AppError("not-found", `the root certificate \`${file}\` cannot be read`, { cause, help });
  }
  if (learnt === undefined && !text.includes("-----BEGIN CERTIFICATE-----"))
    throw new AppError("not-found", `the file \`${file}\` holds no certificate in PEM`, { help });
  return `${text}\n${learnt ?? ""}`;
}

/** Judges the server of one call, after its chain has been verified. */
class ServerCheck {
  refusal: AppError | undefined;
  /** The client was closed. */
  isOver = false;
  readonly #identity: string;

  constructor(identity: string) {
    this.#identity = identity;
  }

  readonly check = (certificate: PeerCertificate): Error | undefined => {
    if (this.isOver) return unneeded();
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

function helpFor(reason: string): string {
  if (/not yet valid|expired/.test(reason)) return "compare the clock of this machine with that of the control plane's";
  if (/certificate/.test(reason)) return "is the root certificate file the one of this control plane?";
  return "is the control plane running, and is this its address?";
}

function explainUnreachable(error: AppError, controlPlane: ControlPlane): AppError {
  const [, reason] = NO_CONNECTION.exec(error.message) ?? [];
  if (reason === undefined) return error;
  return new AppError("unavailable", `cannot reach the control plane at \`${hostAndPort(controlPlane)}\`: ${reason}`, {
    cause: error.cause,
    help: helpFor(reason),
  });
}

function callMethod<Request, Response>(
  client: Client,
  { path, requestSerialize, responseDeserialize }: ClientMethod<Request, Response>,
  request: Request,
  metadata: Metadata,
  deadlineMs: number,
): Promise<Response> {
  const deadline = Date.now() + deadlineMs;
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, { deadline }, (error, response) => {
      if (error !== null) reject(fromGrpcError(error));
      else if (response === undefined) reject(new AppError("internal", "the control plane gave an empty answer"));
      else resolve(response);
    });
  });
}
