/** A control plane that signs certificates, or answers as a test tells it to, and has a few fixed resources. */

import type { PeerCertificate } from "node:tls";
import { create } from "@bufbuild/protobuf";
import { Metadata, Server, type ServerDuplexStream, type ServerUnaryCall, type sendUnaryData, type status } from "@grpc/grpc-js";
import { AggregatedDiscoveryService } from "../../src/gen/envoy/service/discovery/v3/ads_pb.js";
import { type NamesReport, type NamesUpdate, NameTables } from "../../src/gen/garrison/v1/names_pb.js";
import { TrustBundles, type TrustReport, type TrustUpdate } from "../../src/gen/garrison/v1/trust_pb.js";
import {
  type IstioCertificateRequest,
  type IstioCertificateResponse,
  IstioCertificateResponseSchema,
  IstioCertificateService,
} from "../../src/gen/istio/v1/auth/ca_pb.js";
import { RotatingTlsMaterial, type TlsMaterial } from "../../src/rpc/credentials.ts";
import { serviceDefinition } from "../../src/rpc/service.ts";
import { serverCredentials } from "../fixture/server-credentials.ts";
import { type FakeResource, fakeAds } from "./fake-ads.ts";
import { FakeCa } from "./fake-ca.ts";

export const CONTROL_PLANE_IDENTITY = "spiffe://cluster.local/ns/istio-system/sa/garrison";

/** One request as the server saw it. */
export interface SeenRequest {
  readonly csr: string;
  readonly validityDuration: bigint;
  readonly authorization: string | undefined;
  /** The verified client certificate's names, as Node writes them; undefined without one. */
  readonly clientNames: string | undefined;
}

export type CsrAnswer =
  | { readonly certChain: readonly string[] }
  | { readonly code: status; readonly details: string; readonly retryAfterMs?: number }
  | "silence";

export interface FakeCsrServerOptions {
  readonly serverIdentity?: string;
  readonly ca?: FakeCa;
  /** Instead of a certificate for `serverIdentity`. */
  readonly material?: TlsMaterial;
}

export class FakeCsrServer {
  readonly ca: FakeCa;
  readonly requests: SeenRequest[] = [];
  /** Of the ADS streams that were opened: the client certificates' serials. */
  readonly adsStreams: (string | undefined)[] = [];
  /** What ADS gives to everyone. */
  resources: readonly FakeResource[] = [];
  /** What the next requests are answered. */
  answer: (request: SeenRequest) => CsrAnswer;
  /** Who serves the streams of agents that follow the trust bundle; without it, there is no such service. */
  follow: ((call: ServerDuplexStream<TrustReport, TrustUpdate>) => void) | undefined;
  /** Who serves the streams of agents that follow names; without it, there is no such service. */
  followNames: ((call: ServerDuplexStream<NamesReport, NamesUpdate>) => void) | undefined;
  readonly #material: RotatingTlsMaterial;
  #server: Server | undefined;
  #port = 0;

  /** Answers every request with a certificate for `identity`, until told otherwise. */
  constructor(identity: string, { serverIdentity = CONTROL_PLANE_IDENTITY, ca = new FakeCa(), material }: FakeCsrServerOptions = {}) {
    this.ca = ca;
    this.#material = new RotatingTlsMaterial(material ?? ca.material(serverIdentity));
    this.answer = ({ csr }) => ({ certChain: [ca.signRequest(csr, { identities: [identity] }), ca.rootPem] });
  }

  get port(): number {
    return this.#port;
  }

  /** Listens, on the port it had before when there was one. */
  async start(): Promise<void> {
    const server = new Server();
    server.addService(serviceDefinition(IstioCertificateService), {
      CreateCertificate: (
        call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>,
        done: sendUnaryData<IstioCertificateResponse>,
      ) => this.#serve(call, done),
    });
    server.addService(
      serviceDefinition(AggregatedDiscoveryService),
      fakeAds(this.resources, (serial) => this.adsStreams.push(serial)),
    );
    if (this.followNames !== undefined) server.addService(serviceDefinition(NameTables), { Follow: this.followNames });
    if (this.follow !== undefined) server.addService(serviceDefinition(TrustBundles), { Follow: this.follow });
    this.#port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`127.0.0.1:${this.#port}`, serverCredentials(this.#material), (error, port) =>
        error === null ? resolve(port) : reject(error),
      );
    });
    this.#server = server;
  }

  /** Gone at once, as by SIGKILL. */
  kill(): void {
    this.#server?.forceShutdown();
    this.#server = undefined;
  }

  #serve(call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>, done: sendUnaryData<IstioCertificateResponse>): void {
    const peer: PeerCertificate | undefined = call.getAuthContext().sslPeerCertificate;
    const seen: SeenRequest = {
      csr: call.request.csr,
      validityDuration: call.request.validityDuration,
      authorization: call.metadata.get("authorization")[0]?.toString(),
      clientNames: peer?.subjectaltname,
    };
    this.requests.push(seen);
    const answer = this.answer(seen);
    if (answer === "silence") return;
    if ("certChain" in answer) {
      done(null, create(IstioCertificateResponseSchema, { certChain: [...answer.certChain] }));
      return;
    }
    const metadata = new Metadata();
    if (answer.retryAfterMs !== undefined) metadata.set("grpc-retry-pushback-ms", String(answer.retryAfterMs));
    done({ code: answer.code, details: answer.details, metadata });
  }
}
