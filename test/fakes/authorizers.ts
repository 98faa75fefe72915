/** Authorizers over HTTP and over gRPC that keep what they were asked and answer as the question says. */
import { once } from "node:events";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from "@grpc/grpc-js";
import {
  Authorization,
  type CheckRequest,
  type CheckResponse,
  CheckResponseSchema,
} from "../../src/gen/envoy/service/auth/v3/external_auth_pb.js";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import { serviceDefinition } from "../../src/rpc/service.ts";

/** What an authorizer over HTTP was asked. */
export interface AskedOverHttp {
  readonly method: string;
  readonly url: string;
  /** Each line on its own, names in lower case. */
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string;
}

export interface HttpAuthorizerServer {
  readonly port: number;
  readonly asked: AskedOverHttp[];
  /** Chosen by the request; 200 without anything where it says nothing. */
  answer: (asked: AskedOverHttp, response: ServerResponse, request: IncomingMessage) => void;
  close(): void;
}

async function whole(request: IncomingMessage): Promise<AskedOverHttp> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const { method = "", url = "", rawHeaders } = request;
  const headers = rawHeaders.flatMap((name, at) => (at % 2 === 0 ? [[name.toLowerCase(), rawHeaders[at + 1] ?? ""] as const] : []));
  return { method, url, headers, body: Buffer.concat(chunks).toString("latin1") };
}

/** One over HTTP/1.1, on a free port of 127.0.0.1. */
export async function startHttpAuthorizer(): Promise<HttpAuthorizerServer> {
  const asked: AskedOverHttp[] = [];
  const server = createHttpServer((request, response) => {
    void whole(request).then(
      (question) => {
        asked.push(question);
        authorizer.answer(question, response, request);
      },
      () => response.destroy(),
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const authorizer: HttpAuthorizerServer = {
    port: (server.address() as AddressInfo).port,
    asked,
    answer: (_asked, response) => response.end(),
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
  return authorizer;
}

export type GrpcAnswer = MessageInitShape<typeof CheckResponseSchema> | { readonly error: number } | "silence";

export interface GrpcAuthorizerServer {
  readonly port: number;
  readonly asked: CheckRequest[];
  answer: (request: CheckRequest) => GrpcAnswer;
  close(): void;
}

export const OK: GrpcAnswer = { status: { code: 0 } };

/** One over gRPC, plain or by mutual TLS. */
export async function startGrpcAuthorizer(material?: TlsMaterial): Promise<GrpcAuthorizerServer> {
  const server = new Server();
  const asked: CheckRequest[] = [];
  const check = ({ request }: ServerUnaryCall<CheckRequest, CheckResponse>, reply: sendUnaryData<CheckResponse>): void => {
    asked.push(request);
    const answer = authorizer.answer(request);
    if (answer === "silence") return;
    if ("error" in answer) reply({ code: answer.error, details: "as the test wants it" });
    else reply(null, create(CheckResponseSchema, answer));
  };
  server.addService(serviceDefinition(Authorization), { Check: check });
  const credentials = material === undefined ? ServerCredentials.createInsecure() : mutual(material);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error === null ? resolve(bound) : reject(error)));
  });
  const authorizer: GrpcAuthorizerServer = { port, asked, answer: () => OK, close: () => server.forceShutdown() };
  return authorizer;
}

function mutual({ key, chain, roots }: TlsMaterial): ServerCredentials {
  return ServerCredentials.createSsl(Buffer.from(roots), [{ private_key: Buffer.from(key), cert_chain: Buffer.from(chain) }], true);
}
