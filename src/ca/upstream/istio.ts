/** Asks Istio's certificate service (istiod, istio-csr, another Garrison): `istio.v1.auth.IstioCertificateService/CreateCertificate`. */

import { checkServerIdentity } from "node:tls";
import { create } from "@bufbuild/protobuf";
import { Client, Metadata, type ServiceError } from "@grpc/grpc-js";
import { decodeJwt } from "jose";
import { AppError } from "../../core/error.ts";
import { IstioCertificateRequestSchema, type IstioCertificateResponse, IstioCertificateService } from "../../gen/istio/v1/auth/ca_pb.js";
import { clientCredentials, RotatingTlsMaterial, unneeded } from "../../rpc/credentials.ts";
import { serviceDefinition } from "../../rpc/service.ts";
import { fromGrpcError } from "../../rpc/status.ts";
import { parseCertificates } from "../../x509/certificate.ts";
import { readSecret } from "../plugged-files.ts";
import type { IstioUpstreamConfig, Upstream, UpstreamRequest } from "./model.ts";

const MAX_ANSWER_BYTES = 256 * 1024;

/** What this control plane is to the other CA, at this moment: files change. */
interface Credential {
  readonly token: string | undefined;
  readonly material: { readonly key: string; readonly chain: string } | undefined;
  /** A SPIFFE ID; undefined where the credential does not tell. */
  readonly identity: string | undefined;
}

/** Istio's service accounts as subjects: `system:serviceaccount:NAMESPACE:NAME`. */
function subjectOf(token: string, uri: string): string | undefined {
  try {
    const [, , namespace, name] = /^(system:serviceaccount):([^:]+):([^:]+)$/.exec(String(decodeJwt(token).sub)) ?? [];
    return namespace === undefined ? undefined : `${/^spiffe:\/\/[^/]+/.exec(uri)?.[0]}/ns/${namespace}/sa/${name}`;
  } catch {
    return undefined;
  }
}

function readCredential(config: IstioUpstreamConfig["credential"], uri: string): Credential {
  if ("tokenFile" in config) {
    const token = readSecret(config.tokenFile).trim();
    return { token, material: undefined, identity: subjectOf(token, uri) };
  }
  const [chain, key] = [readSecret(config.certificateFile), readSecret(config.keyFile)];
  const name = parseCertificates(chain)[0]?.names.find(({ kind }) => kind === "uri");
  return { token: undefined, material: { key, chain }, identity: name?.value };
}

/** The connection of one set of files. */
interface Connection {
  readonly client: Client;
  readonly close: () => void;
  readonly files: string;
}

export class IstioUpstream implements Upstream {
  readonly name: string;
  readonly #config: IstioUpstreamConfig;
  readonly #roots: () => string;
  #connection: Connection | undefined;

  constructor(config: IstioUpstreamConfig, roots: () => string) {
    this.#config = config;
    this.#roots = roots;
    this.name = `Istio's certificate service at ${config.address}`;
  }

  async request({ csr, uri, ttlSeconds }: UpstreamRequest, signal: AbortSignal): Promise<readonly string[]> {
    const credential = readCredential(this.#config.credential, uri);
    // An identity other than its own is asked for as Istio's node proxies ask for those of workloads.
    const metadata = credential.identity === uri ? undefined : { ImpersonatedIdentity: uri };
    const request = create(IstioCertificateRequestSchema, {
      csr,
      validityDuration: BigInt(ttlSeconds),
      ...(metadata === undefined ? {} : { metadata }),
    });
    const headers = new Metadata();
    headers.set("clusterid", "Kubernetes");
    if (credential.token !== undefined) headers.set("authorization", `Bearer ${credential.token}`);
    const { CreateCertificate: method } = serviceDefinition(IstioCertificateService);
    if (method === undefined) throw new AppError("internal", "the certificate service has no such method");
    const client = this.#client(credential);
    return new Promise((resolve, reject) => {
      const call = client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize as (bytes: Buffer) => IstioCertificateResponse,
        request,
        headers,
        (error: ServiceError | null, answer?: IstioCertificateResponse) =>
          error === null ? resolve(answer?.certChain.slice(0, -1) ?? []) : reject(fromGrpcError(error)),
      );
      signal.addEventListener("abort", () => call.cancel(), { once: true });
    });
  }

  close(): void {
    this.#connection?.close();
  }

  /** One connection for all requests, until a file changes. */
  #client({ material }: Credential): Client {
    const roots = this.#roots();
    const files = JSON.stringify([roots, material]);
    if (this.#connection?.files === files) return this.#connection.client;
    const { address, serverName } = this.#config;
    const identity = material === undefined ? undefined : new RotatingTlsMaterial({ ...material, roots });
    let isOver = false;
    const credentials = clientCredentials(new RotatingTlsMaterial({ key: "", chain: "", roots }), identity, (certificate) =>
      isOver ? unneeded() : checkServerIdentity(serverName, certificate),
    );
    const client = new Client(`dns:${address}`, credentials, {
      "grpc.enable_http_proxy": 0,
      "grpc.use_local_subchannel_pool": 1,
      "grpc.max_receive_message_length": MAX_ANSWER_BYTES,
      "grpc.ssl_target_name_override": serverName,
      // Another attempt after a moment: how long to leave it alone is the breaker's to say.
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 1000,
    });
    const close = (): void => {
      isOver = true;
      client.close();
    };
    this.#connection?.close();
    this.#connection = { client, close, files };
    return client;
  }
}
