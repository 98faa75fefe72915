import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { SecretSchema } from "../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import {
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
  DiscoveryRequestSchema,
  DiscoveryResponseSchema,
} from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import { SecretDiscoveryService } from "../gen/envoy/service/secret/v3/sds_pb.js";
import {
  DescribeGroupRequestSchema,
  DescribeGroupResponseSchema,
  Health,
  RegistrationReportSchema,
  RegistrationSchema,
  WorkloadRegistration,
} from "../gen/garrison/v1/registration_pb.js";
import { TrustBundles, TrustReportSchema, TrustUpdateSchema } from "../gen/garrison/v1/trust_pb.js";
import { IstioCertificateRequestSchema, IstioCertificateResponseSchema, IstioCertificateService } from "../gen/istio/v1/auth/ca_pb.js";
import { methodDefinition } from "../rpc/service.ts";
import { CREATE_CERTIFICATE } from "./csr-messages.ts";
import { DESCRIBE_GROUP, decodeRegistration, encodeReport, REGISTER } from "./registration-messages.ts";
import {
  decodeDeltaRequest,
  decodeRequest,
  encodeDeltaResponse,
  encodeKeyAndChain,
  encodeResponse,
  encodeTrustedRoots,
  SECRET_TYPE_URL,
} from "./sds-messages.ts";
import { SDS_METHODS } from "./sds-server.ts";
import { decodeTrustUpdate, encodeTrustReport, FOLLOW } from "./trust-messages.ts";

const text = fc.string({ unit: "grapheme", maxLength: 40 });
const texts = fc.array(text, { maxLength: 5 });
const node = fc.record({ id: text, cluster: text });
const errorDetail = fc.option(fc.record({ code: fc.nat(16), message: text }), { nil: undefined });
const secrets = fc.array(fc.record({ name: text, version: text, body: fc.uint8Array({ maxLength: 40 }) }), { maxLength: 4 });

describe("messages written and read by hand agree with the generated code", () => {
  it("for a request for the state of the world", () => {
    fc.assert(
      fc.property(text, texts, text, text, errorDetail, node, (versionInfo, resourceNames, typeUrl, responseNonce, refusal, from) => {
        const init = {
          versionInfo,
          resourceNames,
          typeUrl,
          responseNonce,
          node: from,
          ...(refusal === undefined ? {} : { errorDetail: refusal }),
        };
        assert.deepEqual(decodeRequest(toBinary(DiscoveryRequestSchema, create(DiscoveryRequestSchema, init))), {
          typeUrl,
          nonce: responseNonce,
          refusal: refusal?.message,
          wanted: { kind: "all", names: resourceNames },
        });
      }),
    );
  });

  it("for what a machine of a group is told, and what it reports", () => {
    const number = fc.integer({ min: 1, max: 2 ** 31 });
    const times = fc.tuple(number, number, number, number);
    fc.assert(
      fc.property(text, text, text, texts, number, times, (workload, host, path, command, port, [delay, period, success, failure]) => {
        const init = {
          initialDelaySeconds: delay,
          timeoutSeconds: 7,
          periodSeconds: period,
          successThreshold: success,
          failureThreshold: failure,
        };
        const decoded = (handler: NonNullable<Parameters<typeof create<typeof RegistrationSchema>>[1]>["probe"]) =>
          decodeRegistration(
            toBinary(RegistrationSchema, create(RegistrationSchema, { workload, ...(handler ? { probe: handler } : {}) })),
          );
        const { check: _, ...rest } = decoded({ ...init, handler: { case: "exec", value: { command } } });
        assert.deepEqual(rest, { workload });
        const expected = { initialDelaySeconds: delay, periodSeconds: period, successThreshold: success, failureThreshold: failure };
        const headers = [{ name: host, value: path }];
        assert.deepEqual(decoded({ ...init, handler: { case: "http", value: { scheme: "HTTPS", host, port, path, headers } } }).check, {
          ...expected,
          ask: {
            kind: "network",
            host,
            probe: { kind: "http", scheme: "HTTPS", port, path, headers: [[host, path]], timeoutSeconds: 7 },
          },
        });
        assert.deepEqual(decoded({ ...init, handler: { case: "tcp", value: { host, port } } }).check, {
          ...expected,
          ask: { kind: "network", host, probe: { kind: "tcp", port, timeoutSeconds: 7 } },
        });
        assert.deepEqual(decoded({ ...init, handler: { case: "grpc", value: { port, service: path } } }).check, {
          ...expected,
          ask: { kind: "network", host: "", probe: { kind: "grpc", port, service: path, timeoutSeconds: 7 } },
        });
        assert.deepEqual(decoded({ ...init, handler: { case: "exec", value: { command } } }).check, {
          ...expected,
          ask: { kind: "exec", command, timeoutSeconds: 7 },
        });
        assert.equal(decoded(undefined).check, undefined);
      }),
    );
    fc.assert(
      fc.property(text, text, text, fc.boolean(), fc.boolean(), (group, address, detail, healthy, leaving) => {
        const sent = fromBinary(RegistrationReportSchema, encodeReport({ group, address, health: { healthy, detail }, leaving }));
        const said = { group, address, health: healthy ? Health.HEALTHY : Health.UNHEALTHY, detail, leaving };
        assert.deepEqual(sent, create(RegistrationReportSchema, said));
        const unknown = fromBinary(RegistrationReportSchema, encodeReport({ group, address, health: undefined, leaving: false }));
        assert.deepEqual(unknown, create(RegistrationReportSchema, { group, address }));
        const asked = fromBinary(DescribeGroupRequestSchema, DESCRIBE_GROUP.requestSerialize({ group, address }));
        assert.deepEqual(asked, create(DescribeGroupRequestSchema, { group, address }));
        const answer = { workload: group, identity: detail, address, captured: leaving, dnsCapture: healthy };
        const bytes = toBinary(DescribeGroupResponseSchema, create(DescribeGroupResponseSchema, answer));
        assert.deepEqual(DESCRIBE_GROUP.responseDeserialize(Buffer.from(bytes)), answer);
      }),
    );
    assert.equal(REGISTER.path, methodDefinition(WorkloadRegistration.method.register).path);
    assert.equal(DESCRIBE_GROUP.path, methodDefinition(WorkloadRegistration.method.describeGroup).path);
  });

  it("for what an agent is to trust, and what it reports", () => {
    const number = fc.nat(2 ** 31);
    const bundle = fc.record({ trustDomain: text, roots: text, jwks: text, sequence: number, refreshHintSeconds: number });
    const update = fc.record({
      nonce: text,
      bundles: fc.array(bundle, { maxLength: 3 }),
      tainted: texts,
      renewWithinMs: number,
      revoked: text,
      revocationList: text,
    });
    const report = fc.record({ workload: text, nonce: text, refusal: text, serial: text, authority: text });
    fc.assert(
      fc.property(update, report, (sent, reported) => {
        const bundles = sent.bundles.map((each) => ({ ...each, sequence: BigInt(each.sequence) }));
        assert.deepEqual(decodeTrustUpdate(toBinary(TrustUpdateSchema, create(TrustUpdateSchema, { ...sent, bundles }))), {
          ...sent,
          bundles: sent.bundles.map((each) => ({ ...each })),
        });
        const { $typeName, ...read } = fromBinary(TrustReportSchema, encodeTrustReport(reported));
        assert.deepEqual(read, { ...reported });
      }),
    );
    assert.equal(FOLLOW.path, methodDefinition(TrustBundles.method.follow).path);
  });

  it("for a request for changes", () => {
    const held = fc.dictionary(text, text, { noNullPrototype: true, maxKeys: 4 });
    fc.assert(
      fc.property(texts, texts, held, text, text, errorDetail, (subscribe, unsubscribe, versions, typeUrl, nonce, refusal) => {
        const message = create(DeltaDiscoveryRequestSchema, {
          resourceNamesSubscribe: subscribe,
          resourceNamesUnsubscribe: unsubscribe,
          initialResourceVersions: versions,
          typeUrl,
          responseNonce: nonce,
          ...(refusal === undefined ? {} : { errorDetail: refusal }),
        });
        assert.deepEqual(decodeDeltaRequest(toBinary(DeltaDiscoveryRequestSchema, message)), {
          typeUrl,
          nonce,
          refusal: refusal?.message,
          wanted: { kind: "change", subscribe, unsubscribe, held: new Map(Object.entries(versions)) },
        });
      }),
    );
  });

  it("for both responses", () => {
    fc.assert(
      fc.property(text, text, secrets, (nonce, version, sent) => {
        const whole = fromBinary(DiscoveryResponseSchema, encodeResponse({ nonce, version, secrets: sent }));
        assert.deepEqual([whole.nonce, whole.versionInfo, whole.typeUrl], [nonce, version, SECRET_TYPE_URL]);
        assert.deepEqual(
          whole.resources.map(({ typeUrl, value }) => ({ typeUrl, value: Buffer.from(value) })),
          sent.map(({ body }) => ({ typeUrl: SECRET_TYPE_URL, value: Buffer.from(body) })),
        );
        const delta = fromBinary(DeltaDiscoveryResponseSchema, encodeDeltaResponse({ nonce, version, secrets: sent }));
        assert.deepEqual([delta.nonce, delta.systemVersionInfo, delta.typeUrl], [nonce, version, SECRET_TYPE_URL]);
        assert.deepEqual(
          delta.resources.map((resource) => ({ name: resource.name, version: resource.version, typeUrl: resource.resource?.typeUrl })),
          sent.map((secret) => ({ name: secret.name, version: secret.version, typeUrl: SECRET_TYPE_URL })),
        );
      }),
    );
  });

  it("for both secrets", () => {
    const inline = (value: string) => ({ specifier: { case: "inlineBytes" as const, value: Buffer.from(value) } });
    const value = { certificateChain: inline("chain"), privateKey: inline("key") };
    const identity = create(SecretSchema, { name: "default", type: { case: "tlsCertificate", value } });
    assert.deepEqual(encodeKeyAndChain("default", "chain", "key"), Buffer.from(toBinary(SecretSchema, identity)));
    const roots = create(SecretSchema, { name: "ROOTCA", type: { case: "validationContext", value: { trustedCa: inline("roots") } } });
    assert.deepEqual(encodeTrustedRoots("ROOTCA", "roots"), Buffer.from(toBinary(SecretSchema, roots)));
    const listed = { trustedCa: inline("roots"), crl: inline("lists"), onlyVerifyLeafCertCrl: true };
    const servers = create(SecretSchema, { name: "ROOTCA-SERVERS", type: { case: "validationContext", value: listed } });
    assert.deepEqual(encodeTrustedRoots("ROOTCA-SERVERS", "roots", "lists"), Buffer.from(toBinary(SecretSchema, servers)));
  });

  it("for a certificate request and its answer", () => {
    fc.assert(
      fc.property(text, fc.nat(), texts, (csr, ttlSeconds, certChain) => {
        const request = fromBinary(IstioCertificateRequestSchema, CREATE_CERTIFICATE.requestSerialize({ csr, ttlSeconds }));
        assert.deepEqual([request.csr, request.validityDuration], [csr, BigInt(ttlSeconds)]);
        const answer = create(IstioCertificateResponseSchema, { certChain });
        assert.deepEqual(CREATE_CERTIFICATE.responseDeserialize(toBinary(IstioCertificateResponseSchema, answer)), certChain);
      }),
    );
  });

  it("for the methods' names and kinds", () => {
    assert.equal(CREATE_CERTIFICATE.path, methodDefinition(IstioCertificateService.method.createCertificate).path);
    for (const method of SecretDiscoveryService.methods) {
      const { path, requestStream, responseStream } = methodDefinition(method);
      const own = Object.entries(SDS_METHODS).find(([name]) => name === method.name)?.[1];
      assert.deepEqual(
        { path: own?.path, requestStream: own?.requestStream, responseStream: own?.responseStream },
        { path, requestStream, responseStream },
      );
    }
  });
});

describe("a message that is none", () => {
  it("is an error and nothing worse, whatever its bytes", () => {
    const refusals = new Set<string>();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const decode of [decodeRequest, decodeDeltaRequest, CREATE_CERTIFICATE.responseDeserialize]) {
          try {
            decode(bytes);
          } catch (error) {
            refusals.add((error as Error).constructor.name);
          }
        }
      }),
      { numRuns: 2_000 },
    );
    assert.deepEqual(
      [...refusals].filter((name) => !["Error", "RangeError", "TypeError"].includes(name)),
      [],
    );
    assert.ok(refusals.size > 0);
  });

  it("is refused when a string is not UTF-8", () => {
    assert.throws(() => decodeRequest(Buffer.from([0x1a, 2, 0xc3, 0x28])), TypeError);
  });
});
