import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Client, Metadata, Server, type ServiceError, status } from "@grpc/grpc-js";
import { serverCredentials } from "../../test/fixture/server-credentials.ts";
import { AppError, type ErrorCode } from "../core/error.ts";
import type { LogFields } from "../core/logger.ts";
import {
  type IstioCertificateRequest,
  IstioCertificateRequestSchema,
  type IstioCertificateResponse,
  IstioCertificateService,
} from "../gen/istio/v1/auth/ca_pb.js";
import { formatSpiffeId, parseSpiffeId } from "../identity/spiffe-id.ts";
import { DEFAULT_TRUST_DOMAIN } from "../identity/trust-domain.ts";
import { clientCredentials, RotatingTlsMaterial, type TlsMaterial } from "../rpc/credentials.ts";
import { methodDefinition, serviceDefinition } from "../rpc/service.ts";
import { parseCertificate, parseCertificates, svidIdentity } from "../x509/certificate.ts";
import { buildCsr, generateKey, spkiOf } from "../x509/csr-builder.ts";
import { sequence } from "../x509/der-writer.ts";
import { basicConstraints, extendedKeyUsage, extension, KEY_USAGE, keyUsage } from "../x509/extensions.ts";
import { formatGeneralNames } from "../x509/general-names.ts";
import { signatureAlgorithmOf } from "../x509/key-kinds.ts";
import { OID } from "../x509/oids.ts";
import { formatPem } from "../x509/pem.ts";
import { writeSigned } from "../x509/signed.ts";
import { encodeTbs, randomSerial } from "../x509/tbs.ts";
import { type Authenticator, clientCertificateAuthenticator, provenCaller, tokenAuthenticator } from "./authenticators.ts";
import { type Authority, openAuthority } from "./authority.ts";
import { certificateService } from "./csr-service.ts";
import { TokenIssuer } from "./service-account-token.ts";
import { type ServingCertificate, servingIdentity, startServing } from "./serving.ts";

const DAY_MS = 86_400_000;
const identity = parseSpiffeId("spiffe://cluster.local/ns/photo/sa/web");
const URI = formatSpiffeId(identity);
const METHOD = methodDefinition(IstioCertificateService.method.createCertificate);
const KNOWN = ["photo/web", "photo/db", "istio-system/garrison"];

let stateFolder = "";
/** How far the server's clock is ahead of the machine's. */
let skew = 0;
let authority: Authority;
let serving: ServingCertificate;
let tokens: TokenIssuer;
let server: Server;
let address = "";
let lines: { readonly level: string; readonly message: string; readonly fields: LogFields | undefined }[] = [];
const clients: Client[] = [];
const clock = { now: () => Date.now() + skew };
const logger = { log: (level: string, message: string, fields?: LogFields) => void lines.push({ level, message, fields }) };

before(async () => {
  stateFolder = mkdtempSync(join(tmpdir(), "csr-service-"));
  authority = openAuthority({ stateFolder, trustDomain: DEFAULT_TRUST_DOMAIN, clock, logger });
  tokens = new TokenIssuer({ stateFolder, issuer: "https://garrison.test", clock });
  serving = await startServing({ authority, clock, logger });
  server = new Server();
  const service = certificateService({
    authority,
    authenticators: [
      clientCertificateAuthenticator({ trustDomain: DEFAULT_TRUST_DOMAIN, trust: () => authority.trust, clock }),
      tokenAuthenticator({ trustDomain: DEFAULT_TRUST_DOMAIN, tokens }),
    ],
    knows: ({ namespace, serviceAccount }) => KNOWN.includes(`${namespace}/${serviceAccount}`),
    logger,
  });
  server.addService(serviceDefinition(IstioCertificateService), { ...service });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", serverCredentials(serving.material), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  address = `127.0.0.1:${port}`;
});
beforeEach(() => {
  skew = 0;
  lines = [];
});
after(() => {
  for (const client of clients) client.close();
  server.forceShutdown();
  serving.close();
  authority.close();
  rmSync(stateFolder, { recursive: true });
});

/** A client that checks the control plane's name, with a certificate of its own or none. */
function connect(material?: TlsMaterial): Client {
  const roots = new RotatingTlsMaterial({ key: "", chain: "", roots: authority.rootsPem });
  const wanted = formatSpiffeId(servingIdentity(DEFAULT_TRUST_DOMAIN));
  const credentials = clientCredentials(roots, material === undefined ? undefined : new RotatingTlsMaterial(material), ({ raw }) =>
    formatSpiffeId(svidIdentity(parseCertificate(raw))) === wanted ? undefined : new Error("not the control plane"),
  );
  // Node refuses an IP address as a TLS server name.
  const client = new Client(address, credentials, { "grpc.ssl_target_name_override": "localhost" });
  clients.push(client);
  return client;
}

function bearer(value: string): Metadata {
  const metadata = new Metadata();
  metadata.set("authorization", value);
  return metadata;
}

type RequestInit = MessageInitShape<typeof IstioCertificateRequestSchema>;

function ask(client: Client, metadata: Metadata, init: RequestInit = {}): Promise<readonly string[]> {
  const request = create(IstioCertificateRequestSchema, { csr: buildCsr(generateKey(), URI), ...init });
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest<IstioCertificateRequest, IstioCertificateResponse>(
      METHOD.path,
      METHOD.requestSerialize,
      METHOD.responseDeserialize,
      request,
      metadata,
      { deadline: Date.now() + 20_000 },
      (error, response) => (error === null ? resolve(response?.certChain ?? []) : reject(error)),
    );
  });
}

async function refuses(answer: Promise<unknown>, code: status, details: string | RegExp): Promise<void> {
  await assert.rejects(answer, (error: ServiceError) => {
    assert.equal(error.code, code, error.details);
    assert.match(error.details, typeof details === "string" ? new RegExp(`^${RegExp.escape(details)}$`) : details);
    return true;
  });
}

const token = (
  more: { readonly name?: string; readonly namespace?: string; readonly audience?: string; readonly ttlSeconds?: number } = {},
) => tokens.mint({ namespace: "photo", name: "web", audience: "istio-ca", ttlSeconds: 600, ...more });

/** Material of a workload that the authority itself has certified. */
async function issuedMaterial(from: Authority): Promise<TlsMaterial> {
  const key = generateKey();
  const { leaf } = await from.issue({ csr: buildCsr(key, URI), identity, ttlSeconds: 3600, caller: "test" });
  return { key: key.export({ type: "pkcs8", format: "pem" }).toString(), chain: leaf, roots: authority.rootsPem };
}

/** A certificate signed by its own key that claims the identity, or by another CA of the same name. */
function selfSignedMaterial(issuerName: Uint8Array): TlsMaterial {
  const key = generateKey();
  const now = Date.now();
  const tbs = encodeTbs({
    algorithm: signatureAlgorithmOf(key),
    serial: randomSerial(),
    issuer: issuerName,
    subject: issuerName,
    validity: { notBefore: now - DAY_MS, notAfter: now + DAY_MS },
    spki: spkiOf(key),
    extensions: [
      keyUsage(KEY_USAGE.digitalSignature),
      extendedKeyUsage(OID.serverAuth, OID.clientAuth),
      basicConstraints(false),
      extension(OID.subjectAltName, true, formatGeneralNames(URI)),
    ],
  });
  return {
    key: key.export({ type: "pkcs8", format: "pem" }).toString(),
    chain: formatPem("CERTIFICATE", writeSigned(tbs, key)),
    roots: authority.rootsPem,
  };
}

describe("CreateCertificate", () => {
  test("answers a token with leaf and root, the leaf carrying the token's identity", async () => {
    const chain = await ask(connect(), bearer(`Bearer ${await token()}`), { validityDuration: 3600n });
    assert.equal(chain.length, 2);
    assert.equal(chain[1], authority.rootsPem);
    const [leaf] = parseCertificates(chain[0] ?? "");
    assert.ok(leaf);
    assert.deepEqual(svidIdentity(leaf), identity);
    assert.ok(Math.abs(leaf.notAfter - Date.now() - 3_600_000) < 60_000);
    assert.equal(authority.ledger.find(leaf.serial)?.caller, "token");
  });

  test("answers a certificate of its own (renewal) without any token", async () => {
    const chain = await ask(connect(await issuedMaterial(authority)), new Metadata());
    const [leaf] = parseCertificates(chain[0] ?? "");
    assert.ok(leaf);
    assert.deepEqual(svidIdentity(leaf), identity);
    assert.equal(authority.ledger.find(leaf.serial)?.caller, "client certificate");
  });

  test("takes the certificate's identity before the token's: the first that proves one decides", async () => {
    const other = await token({ name: "db" });
    const [leaf] = parseCertificates((await ask(connect(await issuedMaterial(authority)), bearer(`Bearer ${other}`)))[0] ?? "");
    assert.ok(leaf);
    assert.deepEqual(svidIdentity(leaf), identity);
  });

  test("logs one line for each certificate and each refusal, with no token and no key in it", async () => {
    const secret = await token();
    await ask(connect(), bearer(`Bearer ${secret}`));
    assert.deepEqual(
      lines.map(({ message, fields }) => [message, fields?.identity, fields?.by]),
      [["certificate issued", URI, "token"]],
    );
    assert.ok(authority.ledger.find(String(lines[0]?.fields?.serial)));
    await assert.rejects(ask(connect(), bearer(`Bearer ${secret}x`)));
    assert.equal(lines.length, 2);
    assert.deepEqual([lines[1]?.message, lines[1]?.fields?.code], ["certificate refused", "unauthenticated"]);
    assert.doesNotMatch(JSON.stringify(lines), new RegExp(`${RegExp.escape(secret.slice(-20))}|BEGIN`));
  });
});

describe("a caller whom nobody can judge at the moment", () => {
  const away = (code: ErrorCode): Authenticator => ({
    name: "token",
    authenticate: () => Promise.reject(new AppError(code, "the API server is away")),
  });
  const silent: Authenticator = { name: "client certificate", authenticate: async () => undefined };
  const credentials = { certificate: undefined, authorization: ["Bearer x"] };

  test("is told to come back, and not refused", async () => {
    for (const code of ["unavailable", "deadline-exceeded"] as const)
      await assert.rejects(provenCaller([silent, away(code)], credentials), { code: "unavailable" });
    await assert.rejects(provenCaller([silent, away("unauthenticated")], credentials), { code: "unauthenticated" });
  });

  test("is taken where another proof holds", async () => {
    const proof = { identity, by: "client certificate" };
    const holds: Authenticator = { name: "client certificate", authenticate: async () => proof };
    assert.equal(await provenCaller([away("unavailable"), holds], credentials), proof);
  });
});

describe("a caller is refused as unauthenticated", () => {
  const none = (reason: string) => `request authenticate failure (client certificate: not presented; token: ${reason})`;

  test("with nothing to show, and on loopback too (CVE-2022-39388)", async () => {
    await refuses(ask(connect(), new Metadata()), status.UNAUTHENTICATED, none("not presented"));
    assert.match(authority.ledger.refusals({ limit: 1 })[0]?.reason ?? "", /^unauthenticated: request authenticate failure/);
  });

  test("with headers that proxies set for their clients", async () => {
    const metadata = new Metadata();
    metadata.set("x-forwarded-client-cert", `By=${URI};URI=${URI}`);
    await refuses(ask(connect(), metadata), status.UNAUTHENTICATED, none("not presented"));
  });

  test("with a token that expired, is for another audience, or is damaged", async () => {
    const good = await token();
    const client = connect();
    await refuses(
      ask(client, bearer(`Bearer ${await token({ audience: "other" })}`)),
      status.UNAUTHENTICATED,
      none("the token was refused: wrong-audience"),
    );
    await refuses(
      ask(client, bearer(`Bearer ${good.slice(0, -8)}AAAAAAAA`)),
      status.UNAUTHENTICATED,
      none("the token was refused: bad-signature"),
    );
    await refuses(ask(client, bearer("Bearer x")), status.UNAUTHENTICATED, none("the token was refused: malformed"));
    await refuses(ask(client, bearer(`Basic ${good}`)), status.UNAUTHENTICATED, none("the authorization header is not `Bearer TOKEN`"));
    skew = 601_000;
    await refuses(ask(client, bearer(`Bearer ${good}`)), status.UNAUTHENTICATED, none("the token was refused: expired"));
  });

  test("with a self-signed certificate that claims an identity", async () => {
    const ownName = sequence();
    const [root] = authority.trust.roots;
    for (const name of [ownName, root?.subject ?? ownName]) {
      await refuses(ask(connect(selfSignedMaterial(name)), new Metadata()), status.UNAUTHENTICATED, none("not presented"));
    }
  });

  test("with a certificate of another CA of the same name and trust domain", async () => {
    const folder = mkdtempSync(join(tmpdir(), "csr-service-"));
    const other = openAuthority({ stateFolder: folder, trustDomain: DEFAULT_TRUST_DOMAIN, clock, logger });
    try {
      await refuses(ask(connect(await issuedMaterial(other)), new Metadata()), status.UNAUTHENTICATED, none("not presented"));
    } finally {
      other.close();
      rmSync(folder, { recursive: true });
    }
  });

  test("with a certificate that expired while its connection stayed open", async () => {
    const client = connect(await issuedMaterial(authority));
    await ask(client, new Metadata());
    skew = 3_601_000;
    const expired = "request authenticate failure (client certificate: the certificate has expired; token: not presented)";
    await refuses(ask(client, new Metadata()), status.UNAUTHENTICATED, expired);
  });

  test("for a service account that does not exist", async () => {
    const stranger = await token({ name: "stranger" });
    await refuses(
      ask(connect(), bearer(`Bearer ${stranger}`)),
      status.UNAUTHENTICATED,
      "the service account `photo/stranger` does not exist",
    );
    assert.equal(authority.ledger.refusals({ limit: 1 })[0]?.identity, "spiffe://cluster.local/ns/photo/sa/stranger");
  });

  test("when it wants to be somebody else (ImpersonatedIdentity)", async () => {
    const metadata = { ImpersonatedIdentity: "spiffe://cluster.local/ns/photo/sa/db" };
    await refuses(
      ask(connect(), bearer(`Bearer ${await token()}`), { metadata }),
      status.UNAUTHENTICATED,
      "request impersonation authentication failure: the caller is no registration authority",
    );
  });
});

describe("a known caller is refused", () => {
  test("for a request that cannot be used, with INVALID_ARGUMENT and the reason", async () => {
    const metadata = bearer(`Bearer ${await token()}`);
    const client = connect();
    await refuses(ask(client, metadata, { csr: "" }), status.INVALID_ARGUMENT, /exactly one/);
    await refuses(ask(client, metadata, { csr: "A".repeat(100_000) }), status.INVALID_ARGUMENT, /larger than 8192 bytes/);
    const tampered = buildCsr(generateKey(), URI).replace(
      /(.)(.)(=*\n-----END)/,
      (_all, a: string, b: string, end: string) => `${a === "A" ? "B" : "A"}${b}${end}`,
    );
    await refuses(ask(client, metadata, { csr: tampered }), status.INVALID_ARGUMENT, /./);
    await refuses(ask(client, metadata, { metadata: { CertSigner: "x" } }), status.INVALID_ARGUMENT, /`CertSigner` is not supported/);
  });

  test("for a life that is too long or negative, with the limit", async () => {
    const metadata = bearer(`Bearer ${await token()}`);
    const client = connect();
    for (const validityDuration of [7_776_001n, 2n ** 63n - 1n]) {
      await refuses(ask(client, metadata, { validityDuration }), status.INVALID_ARGUMENT, /is greater than the max allowed TTL 7776000 s$/);
    }
    await refuses(ask(client, metadata, { validityDuration: -1n }), status.INVALID_ARGUMENT, /is not a whole number of seconds from 0$/);
  });

  test("for another's name, with PERMISSION_DENIED", async () => {
    const csr = buildCsr(generateKey(), "spiffe://cluster.local/ns/photo/sa/db");
    const foreign = "the certificate request asks for a name other than the caller's identity";
    await refuses(ask(connect(), bearer(`Bearer ${await token()}`), { csr }), status.PERMISSION_DENIED, foreign);
  });

  test("for the control plane's own identity, even with a token for it", async () => {
    const reserved = await token({ namespace: "istio-system", name: "garrison" });
    await refuses(
      ask(connect(), bearer(`Bearer ${reserved}`), { csr: buildCsr(generateKey(), formatSpiffeId(servingIdentity(DEFAULT_TRUST_DOMAIN))) }),
      status.PERMISSION_DENIED,
      "the identity of the control plane is not given out",
    );
  });
});
