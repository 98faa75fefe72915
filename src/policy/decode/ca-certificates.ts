/** Istio `MeshConfig.caCertificates` (`CertificateData`), and `ProxyConfig.caCertificatesPem` of before. */
import { parseTrustDomain, type TrustDomain } from "../../identity/trust-domain.ts";
import type { RootsSource } from "../mesh-config.ts";
import { LIMITS } from "./limits.ts";
import { type Decoder, list, record, stringUpTo, text, wrong } from "./reader.ts";
import { parsed } from "./refine.ts";

const trustDomain = parsed<TrustDomain>(
  parseTrustDomain,
  "a trust domain",
  "write it as `cluster.local`: lower-case letters, digits, dots",
);

const PEM_HELP = "put the PEM text there: `-----BEGIN CERTIFICATE-----` and what follows, after a `|`";

/** What is in it is for X.509 to say; that it is no certificate at all is said here. */
const pem: Decoder<string> = (cursor) => {
  const value = stringUpTo(LIMITS.roots)(cursor);
  if (value === undefined || value.includes("-----BEGIN CERTIFICATE-----")) return value;
  return wrong(cursor, "GAR0007", "holds no certificate", PEM_HELP);
};

/** Not quoted where it is wrong: it may hold a password. */
const bundleUrl: Decoder<string> = (cursor) => {
  const value = text(cursor);
  if (value === undefined || /^https:\/\/[^\s/?#@\\]+(?:[/?][^\s#\\]*)?$/.test(value)) return value;
  const help = "write it as `https://other.example/bundle.json`, without user name, password or fragment";
  return wrong(cursor, "GAR0007", "is not an address of HTTPS", help);
};

const NO_SIGNERS = "certificates come from the mesh's CA and from no signer of Kubernetes, so that all roots are for all: remove the field";

/** One of `pem` and `spiffeBundleUrl`. */
function fromOf(value: string | undefined, url: string | undefined): RootsSource["from"] | undefined {
  if (value !== undefined && url === undefined) return { kind: "pem", pem: value };
  if (url !== undefined && value === undefined) return { kind: "bundle", url };
  return undefined;
}

const certificateData: Decoder<RootsSource> = record((fields) => {
  const { cursor } = fields;
  const [pemText, url] = [fields.optional("pem", pem), fields.optional("spiffeBundleUrl", bundleUrl)];
  const trustDomains = fields.optional("trustDomains", list(trustDomain, { max: LIMITS.meshValues })) ?? [];
  fields.refuse({ certSigners: NO_SIGNERS });
  if (fields.has("pem") === fields.has("spiffeBundleUrl"))
    return wrong(cursor, "GAR0007", "must have one of `pem` and `spiffeBundleUrl`", "one entry has one source of roots");
  const from = fromOf(pemText, url);
  return from === undefined ? undefined : { path: cursor.path, place: cursor.node.place, from, trustDomains: [...new Set(trustDomains)] };
});

export const caCertificates: Decoder<readonly RootsSource[]> = list(certificateData, { max: LIMITS.caCertificates });

const pemOnly: Decoder<RootsSource> = (cursor) => {
  const value = pem(cursor);
  return value === undefined
    ? undefined
    : { path: cursor.path, place: cursor.node.place, from: { kind: "pem", pem: value }, trustDomains: [] };
};

export const caCertificatesPem: Decoder<readonly RootsSource[]> = list(pemOnly, { max: LIMITS.caCertificates });
