/** An agent's SDS socket, whose secrets a test sends, and that notes what it is asked and answered. */
import { create, toBinary } from "@bufbuild/protobuf";
import { Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { type Secret, SecretSchema } from "../../src/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import {
  type DiscoveryRequest,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from "../../src/gen/envoy/service/discovery/v3/discovery_pb.js";
import { SecretDiscoveryService } from "../../src/gen/envoy/service/secret/v3/sds_pb.js";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import { serviceDefinition } from "../../src/rpc/service.ts";

const text = (value: string) => ({ specifier: { case: "inlineBytes" as const, value: Buffer.from(value) } });

export function certificateSecret({ key, chain }: TlsMaterial): Secret {
  return create(SecretSchema, {
    name: "default",
    type: { case: "tlsCertificate", value: { privateKey: text(key), certificateChain: text(chain) } },
  });
}

export function rootsSecret(pem: string): Secret {
  return create(SecretSchema, { name: "ROOTCA", type: { case: "validationContext", value: { trustedCa: text(pem) } } });
}

export class FakeAgent {
  readonly requests: DiscoveryRequest[] = [];
  readonly #server = new Server();
  readonly #waiting: (() => void)[] = [];
  #call: ServerDuplexStream<DiscoveryRequest, DiscoveryResponse> | undefined;
  #nonce = 0;

  async start(socket: string): Promise<void> {
    const StreamSecrets = (call: ServerDuplexStream<DiscoveryRequest, DiscoveryResponse>) => {
      this.#call = call;
      call.on("error", () => undefined);
      call.on("data", (request: DiscoveryRequest) => {
        this.requests.push(request);
        for (const resolve of this.#waiting.splice(0)) resolve();
      });
    };
    this.#server.addService(serviceDefinition(SecretDiscoveryService), {
      StreamSecrets,
      DeltaSecrets: () => undefined,
      FetchSecrets: () => undefined,
    });
    await new Promise((resolve, reject) => {
      this.#server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve(undefined) : reject(error),
      );
    });
  }

  async request(count: number): Promise<DiscoveryRequest> {
    for (;;) {
      const found = this.requests[count - 1];
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Sends secrets and returns what the client answers. */
  async send(...secrets: readonly Secret[]): Promise<DiscoveryRequest> {
    const typeUrl = `type.googleapis.com/${SecretSchema.typeName}`;
    this.#nonce += 1;
    const resources = secrets.map((secret) => ({ typeUrl, value: toBinary(SecretSchema, secret) }));
    const answer = this.request(this.requests.length + 1);
    this.#call?.write(create(DiscoveryResponseSchema, { typeUrl, nonce: String(this.#nonce), versionInfo: `v${this.#nonce}`, resources }));
    return answer;
  }

  hangUp(): void {
    this.#call?.end();
  }

  stop(): void {
    this.#server.forceShutdown();
  }
}
