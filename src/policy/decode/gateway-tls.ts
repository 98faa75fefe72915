/** Istio `ServerTLSSettings` of a Gateway. */
import { type ClientCertificateRules, type ServerTls, TLS12_SUITES, type TlsParameters, type TlsVersion } from "../gateway.ts";
import { dnsSubdomain } from "./kubernetes-name.ts";
import { LIMITS } from "./limits.ts";
import { boolean, type Decoder, type Fields, list, record, text, wrong } from "./reader.ts";
import { matching, oneOf } from "./refine.ts";
import { quote } from "./report.ts";

export interface ReadTls {
  readonly tls: ServerTls | undefined;
  readonly httpsRedirect: boolean;
}

const MODES = ["SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "ISTIO_MUTUAL"] as const;

const mode: Decoder<(typeof MODES)[number]> = (cursor) => {
  const value = text(cursor);
  if (value !== "PASSTHROUGH" && value !== "AUTO_PASSTHROUGH") return value === undefined ? undefined : oneOf(MODES)(cursor);
  return wrong(cursor, "GAR0004", `is not supported: ${quote(value)}`, "a gateway ends TLS itself: use SIMPLE, MUTUAL or ISTIO_MUTUAL");
};

// === What a handshake must have ===

const VERSIONS: Readonly<Record<string, TlsVersion>> = { TLSV1_2: "TLSv1.2", TLSV1_3: "TLSv1.3" };

function version(automatic: TlsVersion): Decoder<TlsVersion> {
  return (cursor) => {
    const value = oneOf(["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"])(cursor);
    if (value === undefined || value === "TLS_AUTO") return value && automatic;
    const known = VERSIONS[value];
    return (
      known ??
      wrong(cursor, "GAR0004", `is not supported: ${quote(value)}`, "TLS before 1.2 is not safe (RFC 8996): use TLSV1_2 or TLSV1_3")
    );
  };
}

const suite: Decoder<TlsParameters["cipherSuites"][number]> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  const known = TLS12_SUITES.find((name) => name === value);
  return known ?? wrong(cursor, "GAR0004", `is not supported: ${quote(value)}`, `use of ${TLS12_SUITES.join(", ")}`);
};

function readParameters(fields: Fields): TlsParameters {
  return {
    minVersion: fields.optional("minProtocolVersion", version("TLSv1.2")) ?? "TLSv1.2",
    maxVersion: fields.optional("maxProtocolVersion", version("TLSv1.3")) ?? "TLSv1.3",
    cipherSuites: fields.optional("cipherSuites", list(suite, { max: LIMITS.tlsValues })) ?? [],
  };
}

// === Client certificates ===

const HEX = /^[0-9a-f]{64}$/;

/** With colons or without, as OpenSSL and `sha256sum` print it. */
const certificateHash: Decoder<string> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  const hex = value.replaceAll(":", "").toLowerCase();
  return HEX.test(hex) ? hex : wrong(cursor, "GAR0007", `is not a SHA-256: ${quote(value)}`, "write 64 hexadecimal digits");
};

const spkiHash = matching((value) => /^[A-Za-z0-9+/]{43}=$/.test(value), "a SHA-256 in base64", "write 44 characters of base64");

function readClients(fields: Fields): ClientCertificateRules {
  const bounds = { max: LIMITS.tlsValues };
  return {
    subjectAltNames: fields.optional("subjectAltNames", list(text, bounds)) ?? [],
    certificateHashes: fields.optional("verifyCertificateHash", list(certificateHash, bounds)) ?? [],
    spkiHashes: fields.optional("verifyCertificateSpki", list(spkiHash, bounds)) ?? [],
  };
}

// === The whole ===

const credential: Decoder<string> = (cursor) => {
  const value = text(cursor);
  const scheme = "kubernetes://";
  if (value?.startsWith(scheme) !== true) return value === undefined ? undefined : dnsSubdomain(cursor);
  return dnsSubdomain({ ...cursor, node: { ...cursor.node, kind: "scalar", value: value.slice(scheme.length) } });
};

const FILES = "put the certificate into a Secret of the gateway's namespace, and name it in `credentialName`";

const UNSUPPORTED = {
  serverCertificate: FILES,
  privateKey: FILES,
  caCertificates: FILES,
  caCrl: "put the list into the Secret, as `ca.crl`",
  credentialNames: "name one Secret in `credentialName`",
  tlsCertificates: FILES,
};

const OF_OUTSIDERS = ["credentialName", "caCertCredentialName", "subjectAltNames", "verifyCertificateHash", "verifyCertificateSpki"];
const OF_CLIENTS = ["caCertCredentialName", "subjectAltNames", "verifyCertificateHash", "verifyCertificateSpki"];

/** Fields that the mode would leave without a meaning. */
function refuseIdle(fields: Fields, chosen: string, names: readonly string[]): void {
  for (const name of names.filter((candidate) => fields.has(candidate)))
    wrong(fields.cursor, "GAR0007", `has \`${name}\`, which mode ${chosen} does not ask for`, "remove the field, or change the mode");
}

function readServerTls(fields: Fields): ServerTls | undefined {
  const chosen = fields.optional("mode", mode);
  const parameters = readParameters(fields);
  const clients = readClients(fields);
  const credentialName = fields.optional("credentialName", credential);
  const caCredentialName = fields.optional("caCertCredentialName", credential);
  if (chosen === undefined) return undefined;
  if (parameters.minVersion > parameters.maxVersion)
    wrong(fields.cursor, "GAR0007", "has a `minProtocolVersion` above its `maxProtocolVersion`", "swap them");
  if (chosen === "ISTIO_MUTUAL") {
    refuseIdle(fields, chosen, [...OF_OUTSIDERS, "minProtocolVersion", "maxProtocolVersion", "cipherSuites"]);
    return { mode: chosen };
  }
  if (chosen === "SIMPLE") refuseIdle(fields, chosen, OF_CLIENTS);
  if (credentialName === undefined) {
    if (!fields.has("credentialName")) wrong(fields.cursor, "GAR0005", "has no `credentialName`", FILES);
    return undefined;
  }
  return { mode: chosen, credentialName, caCredentialName, clients, ...parameters };
}

/** Without `mode`, only `httpsRedirect` says anything (as for plaintext servers in Istio). */
export const gatewayTls: Decoder<ReadTls> = record((fields) => {
  const httpsRedirect = fields.optional("httpsRedirect", boolean) ?? false;
  const tls = readServerTls(fields);
  fields.refuse(UNSUPPORTED);
  return { tls, httpsRedirect };
});
