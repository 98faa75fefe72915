/** The workload's certificate from its agent, by Envoy's SDS on a Unix socket. */
import { create, fromBinary } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Client, type ClientDuplexStream, credentials as grpcCredentials, type ServiceError } from "@grpc/grpc-js";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { DataSource } from "../gen/envoy/config/core/v3/base_pb.js";
import type { TypedExtensionConfig } from "../gen/envoy/config/core/v3/extension_pb.js";
import { type Secret, SecretSchema } from "../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import { SPIFFECertValidatorConfigSchema } from "../gen/envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config_pb.js";
import { type DiscoveryRequest, DiscoveryRequestSchema, type DiscoveryResponse } from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import { SecretDiscoveryService } from "../gen/envoy/service/secret/v3/sds_pb.js";
import type { TlsMaterial } from "../rpc/credentials.ts";
import { methodDefinition } from "../rpc/service.ts";
import { fromGrpcError } from "../rpc/status.ts";
import { parseCertificates, svidIdentity } from "../x509/certificate.ts";
import type { ProxyNode } from "./bootstrap.ts";
import type { Credentials } from "./credentials.ts";
import { Retry } from "./retry.ts";
import type { TrustedBundles } from "./trusted-bundles.ts";

export interface SecretClientOptions {
  /** Path of the agent's socket. */
  readonly socket: string;
  readonly node: ProxyNode;
  readonly credentials: Credentials;
  readonly logger: Logger;
}

const METHOD = methodDefinition(SecretDiscoveryService.method.streamSecrets);
const TYPE_URL = `type.googleapis.com/${SecretSchema.typeName}`;
/** Istio's names (AG-2). */
const CERTIFICATE = "default";
const ROOTS = "ROOTCA";
/** google.rpc.Code INVALID_ARGUMENT. */
const INVALID_ARGUMENT = 3;

function textOf(source: DataSource | undefined): string {
  if (source?.specifier.case === "inlineBytes") return Buffer.from(source.specifier.value).toString("utf8");
  if (source?.specifier.case === "inlineString") return source.specifier.value;
  throw new AppError("invalid-argument", "the secret is not inline");
}

/** What has come so far: with other trust domains, roots are by domain. */
interface Known extends Partial<TlsMaterial> {
  readonly bundles?: TrustedBundles | undefined;
}

/** Roots that are bound to trust domains, as for Envoy. */
function bundlesOf({ typedConfig }: TypedExtensionConfig): TrustedBundles {
  const config = typedConfig === undefined ? undefined : anyUnpack(typedConfig, SPIFFECertValidatorConfigSchema);
  if (config === undefined) throw new AppError("invalid-argument", "the validator of the roots is not known here");
  return new Map(config.trustDomains.map(({ name, trustBundle }) => [name, textOf(trustBundle)]));
}

/** The roots of the certificate's own domain. Throws `invalid-argument` where there are none. */
function ownRoots(chain: string, bundles: TrustedBundles): string {
  const [leaf] = parseCertificates(chain);
  const roots = leaf === undefined ? undefined : bundles.get(svidIdentity(leaf).trustDomain);
  if (roots === undefined) throw new AppError("invalid-argument", "there are no roots of the certificate's own trust domain");
  return roots;
}

/** What one secret contributes to the material. */
function materialOf({ name, type }: Secret): Known {
  if (name === CERTIFICATE && type.case === "tlsCertificate")
    return { key: textOf(type.value.privateKey), chain: textOf(type.value.certificateChain) };
  if (name === ROOTS && type.case === "validationContext") {
    const { customValidatorConfig: validator, trustedCa } = type.value;
    return validator === undefined ? { roots: textOf(trustedCa), bundles: undefined } : { bundles: bundlesOf(validator) };
  }
  throw new AppError("invalid-argument", `the secret \`${name.slice(0, 100)}\` is not what was asked for`);
}

/** Subscribes at once and again whenever the stream ends, until stopped; what was received stays in use meanwhile. */
export class SecretClient {
  readonly #options: SecretClientOptions;
  readonly #client: Client;
  readonly #retry: Retry;
  #call: ClientDuplexStream<DiscoveryRequest, DiscoveryResponse> | undefined;
  /** Of the material, what has come so far and was good. */
  #known: Known = {};
  #stopped = false;
  /** The version that was accepted last. */
  #version = "";

  constructor(options: SecretClientOptions) {
    this.#options = options;
    this.#client = new Client(`unix:${options.socket}`, grpcCredentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 });
    this.#retry = new Retry(() => this.#subscribe());
    this.#subscribe();
  }

  stop(): void {
    this.#stopped = true;
    this.#retry.stop();
    this.#call?.cancel();
    this.#client.close();
  }

  #subscribe(): void {
    const call = this.#client.makeBidiStreamRequest(METHOD.path, METHOD.requestSerialize, METHOD.responseDeserialize);
    let failure: ServiceError | undefined;
    this.#call = call;
    call.on("data", (response: DiscoveryResponse) => this.#receive(response));
    call.on("error", (error: ServiceError) => {
      failure = error;
    });
    call.on("status", () => {
      if (this.#stopped) return;
      const retryMs = this.#retry.again();
      const reason = failure === undefined ? "the stream ended" : fromGrpcError(failure).message;
      this.#options.logger.log("warn", "lost the agent", { reason, retryMs });
    });
    const { node } = this.#options;
    call.write(create(DiscoveryRequestSchema, { node, typeUrl: TYPE_URL, resourceNames: [CERTIFICATE, ROOTS] }));
  }

  #receive({ versionInfo, nonce, resources }: DiscoveryResponse): void {
    const answer = create(DiscoveryRequestSchema, { typeUrl: TYPE_URL, resourceNames: [CERTIFICATE, ROOTS], responseNonce: nonce });
    try {
      this.#apply(Object.assign({}, this.#known, ...resources.map(({ value }) => materialOf(fromBinary(SecretSchema, value)))));
      this.#version = versionInfo;
      this.#retry.succeeded();
    } catch (thrown) {
      const { message } = AppError.from(thrown);
      this.#options.logger.log("error", "the agent's certificate was refused, the last one stays in use", { reason: message });
      answer.errorDetail = { $typeName: "google.rpc.Status", code: INVALID_ARGUMENT, message, details: [] };
    }
    answer.versionInfo = this.#version;
    this.#call?.write(answer);
  }

  #apply(known: Known): void {
    const { key, chain, bundles } = known;
    const roots = bundles === undefined || chain === undefined ? known.roots : ownRoots(chain, bundles);
    if (key !== undefined && chain !== undefined && roots !== undefined) {
      this.#options.credentials.update({ key, chain, roots }, bundles);
      this.#options.logger.log("info", "the certificate is in use");
    }
    this.#known = known;
  }
}
