/**
 * What a gRPC server in Node takes at least: the certificate service with an answer that it has ready, of a certificate's size, for whoever asks. Writes its root
 * into the file that it is given, and its port to standard output.
 */
import { writeFileSync } from "node:fs";
import { create } from "@bufbuild/protobuf";
import { Server, type ServerUnaryCall, type sendUnaryData } from "@grpc/grpc-js";
import { WORKLOAD } from "../../src/ca/issue-checks.ts";
import { IstioCertificateResponseSchema, IstioCertificateService } from "../../src/gen/istio/v1/auth/ca_pb.js";
import { RotatingTlsMaterial } from "../../src/rpc/credentials.ts";
import { serviceDefinition } from "../../src/rpc/service.ts";
import { listenTls } from "../../src/server/listen.ts";
import { generateKey, spkiOf } from "../../src/x509/csr-builder.ts";
import { Issuer, makeRoot } from "../../src/x509/issuer.ts";
import { formatPem } from "../../src/x509/pem.ts";
import { ADS_SERVER_OPTIONS } from "../../src/xds/service.ts";

const now = Date.now();
const [rootKey, key] = [generateKey(), generateKey()];
const root = makeRoot(rootKey, { organization: "bench", now, backdateSeconds: 60 });
const issuer = new Issuer(root, rootKey);
const request = { spki: spkiOf(key), uri: "spiffe://bench/ns/bench/sa/bench", dnsNames: [], ttlSeconds: 0, now };
const chain = formatPem("CERTIFICATE", issuer.sign(issuer.prepare(WORKLOAD, request)).der);
const roots = formatPem("CERTIFICATE", root.der);
writeFileSync(process.argv[2] ?? "", roots);

const server = new Server(ADS_SERVER_OPTIONS);
const CreateCertificate = (_call: ServerUnaryCall<unknown, unknown>, callback: sendUnaryData<unknown>): void =>
  callback(null, create(IstioCertificateResponseSchema, { certChain: [chain, roots] }));
server.addService(serviceDefinition(IstioCertificateService), { CreateCertificate });
const privateKey = key.export({ type: "pkcs8", format: "pem" }).toString();
const material = new RotatingTlsMaterial({ key: privateKey, chain, roots });
console.log((await listenTls(server, { listen: { host: "127.0.0.1", port: 0 }, material })).port);
