/** Reads the file of `garrison serve --issuers`. */
import { type KeyObject, X509Certificate } from "node:crypto";
import type { Diagnostic } from "../../core/diagnostic.ts";
import { duration } from "../../policy/decode/duration.ts";
import { jwksSource } from "../../policy/decode/jwt-rule.ts";
import { dnsLabel } from "../../policy/decode/kubernetes-name.ts";
import type { RawNode } from "../../policy/decode/raw-node.ts";
import { type Cursor, type Decoder, type Fields, list, record, stringUpTo, text, wrong } from "../../policy/decode/reader.ts";
import { oneOf } from "../../policy/decode/refine.ts";
import { Report } from "../../policy/decode/report.ts";
import type { AccountRule } from "./account-mapping.ts";
import { accountRules } from "./decode-mapping.ts";
import type { AwsIssuer, OutsideIssuer, TokenIssuerOutside } from "./model.ts";

const MAX_ISSUERS = 32;
const MAX_VALUES = 64;
const HOUR_MS = 3_600_000;
const MAX_AGE_MS = 365 * 24 * HOUR_MS;
const GOOGLE = "https://accounts.google.com";
const GOOGLE_KEYS = "https://www.googleapis.com/oauth2/v3/certs";
const MIN_RSA_BITS = 2048;

/** What only Google says of an instance; its name and zone are whatever a customer chose. */
const GCP_OWNERS = ["google.compute_engine.project_id", "google.compute_engine.project_number", "email"];
const GCP_CLAIMS = [
  ...GCP_OWNERS,
  "google.compute_engine.zone",
  "google.compute_engine.instance_id",
  "google.compute_engine.instance_name",
  "sub",
];
const AWS_OWNERS = ["accountId"];
/** The fields of an instance identity document that are texts. */
const AWS_CLAIMS = [...AWS_OWNERS, "region", "availabilityZone", "instanceId", "imageId", "instanceType", "privateIp", "architecture"];

const audiences = list(text, { min: 1, max: MAX_VALUES });

/** The claims that a kind of token has, and those of which a rule must name one. */
interface ClaimNames {
  readonly known: readonly string[];
  readonly owners: readonly string[];
}

/** Whoever has an account with the cloud makes tokens of its issuer: a rule that does not say whose would let all of them in. */
function accounts(fields: Fields, names?: ClaimNames): readonly AccountRule[] {
  const rules = fields.required("accounts", accountRules(names?.known)) ?? [];
  for (const { when } of names === undefined ? [] : rules) {
    if (when.some(({ claim }) => names?.owners.includes(claim.join(".")))) continue;
    const which = names?.owners.map((name) => `\`${name}\``).join(", ");
    wrong(
      fields.cursor,
      "GAR0007",
      "has an entry of `accounts` that every customer of the cloud could meet",
      `add a condition on one of: ${which}`,
    );
  }
  return rules;
}

function oidc(fields: Fields, name: string): TokenIssuerOutside | undefined {
  const issuer = fields.required("issuer", text) ?? "";
  const given = fields.required("audiences", audiences, "the tokens must be made for this mesh, such as `istio-ca`");
  const jwks = jwksSource(fields, issuer);
  const rules = accounts(fields);
  return given === undefined || jwks === undefined
    ? undefined
    : { kind: "oidc", name, issuer, audiences: given, jwks, accounts: rules, namespaces: undefined };
}

function gcp(fields: Fields, name: string): TokenIssuerOutside | undefined {
  const given = fields.required("audiences", audiences, "the audience that the instance asks its token for");
  const keys =
    fields.has("jwks") || fields.has("jwksUri") ? jwksSource(fields, GOOGLE) : { kind: "uri" as const, url: GOOGLE_KEYS, timeoutMs: 5_000 };
  fields.expect("jwks", "jwksUri", "timeout");
  const rules = accounts(fields, { known: GCP_CLAIMS, owners: GCP_OWNERS });
  return given === undefined || keys === undefined
    ? undefined
    : { kind: "gcp", name, issuer: GOOGLE, audiences: given, jwks: keys, accounts: rules, namespaces: undefined };
}

function kubernetes(fields: Fields, name: string): TokenIssuerOutside | undefined {
  const issuer = fields.required("issuer", text) ?? "";
  const given = fields.required("audiences", audiences, "the audience of the pods' projected tokens, such as `istio-ca`");
  const jwks = jwksSource(fields, issuer);
  const wanted = fields.required(
    "namespaces",
    list(namespace, { min: 1, max: 1024 }),
    'those whose service accounts are this mesh\'s as well, or "*"',
  );
  if (given === undefined || jwks === undefined || wanted === undefined) return undefined;
  const namespaces = wanted.includes("*") ? undefined : new Set(wanted);
  return { kind: "kubernetes", name, issuer, audiences: given, jwks, accounts: [], namespaces };
}

const namespace: Decoder<string> = (cursor) => (cursor.node.kind === "scalar" && cursor.node.value === "*" ? "*" : dnsLabel(cursor));

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

function rsaKey(pem: string): KeyObject | undefined {
  try {
    const { publicKey } = new X509Certificate(pem);
    return publicKey.asymmetricKeyType === "rsa" && (publicKey.asymmetricKeyDetails?.modulusLength ?? 0) >= MIN_RSA_BITS
      ? publicKey
      : undefined;
  } catch {
    return undefined;
  }
}

/** The public keys of AWS' certificates for RSA-2048 signatures. */
const certificates: Decoder<readonly KeyObject[]> = (cursor) => {
  const pem = stringUpTo(256 * 1024)(cursor);
  if (pem === undefined) return undefined;
  const blocks = pem.match(CERTIFICATE) ?? [];
  const keys = blocks.flatMap((block) => rsaKey(block) ?? []);
  if (keys.length > 0 && keys.length === blocks.length && keys.length <= MAX_VALUES && pem.replace(CERTIFICATE, "").trim() === "")
    return keys;
  const help = "take those for RSA-2048 signatures of your regions from AWS' documentation of instance identity documents";
  return wrong(cursor, "GAR0007", `is not PEM of 1 to ${MAX_VALUES} certificates of RSA keys with ${MIN_RSA_BITS} bits or more`, help);
};

const maxAge = duration({ leastMs: 60_000, maxMs: MAX_AGE_MS, help: "write it as `1h`, from 1m to 8760h" });

function aws(fields: Fields, name: string): AwsIssuer | undefined {
  const keys = fields.required("certificates", certificates);
  const maxAgeMs = fields.optional("maxAge", maxAge) ?? HOUR_MS;
  const rules = accounts(fields, { known: AWS_CLAIMS, owners: AWS_OWNERS });
  return keys === undefined ? undefined : { kind: "aws", name, keys, maxAgeMs, accounts: rules };
}

const KINDS = { oidc, gcp, aws, kubernetes } as const;

const issuer: Decoder<OutsideIssuer> = record((fields) => {
  const name = fields.required("name", dnsLabel, "it stands for the issuer in the log and in the ledger");
  const kind = fields.required("kind", oneOf(["oidc", "gcp", "aws", "kubernetes"]));
  if (kind !== undefined) return KINDS[kind](fields, name ?? "");
  fields.acceptAll();
  return undefined;
});

/** One issuer has one meaning: which entry a token belongs to is known before anything of it is believed. */
function checkUnique(cursor: Cursor, issuers: readonly OutsideIssuer[], ownIssuer: string): void {
  const seen = new Set([ownIssuer]);
  const names = new Set<string>();
  for (const each of issuers) {
    const iss = each.kind === "aws" ? "aws" : each.issuer;
    if (iss === ownIssuer)
      wrong(cursor, "GAR0007", `names this control plane's own issuer, \`${iss}\``, "remove it: its tokens are taken already");
    else if (seen.has(iss)) wrong(cursor, "GAR0008", `has the issuer \`${iss}\` twice`, "put the accounts of both into one");
    if (names.has(each.name)) wrong(cursor, "GAR0008", `has the name \`${each.name}\` twice`);
    seen.add(iss);
    names.add(each.name);
  }
}

export interface DecodedIssuers {
  readonly issuers: readonly OutsideIssuer[];
  readonly diagnostics: readonly Diagnostic[];
}

/** The issuers of a document `{issuers: […]}`. They count only where no diagnostic is an error. `ownIssuer`: the `iss` of this control plane's own tokens. */
export function decodeIssuers(node: RawNode, ownIssuer: string): DecodedIssuers {
  const report = new Report();
  const document = record((fields) => fields.required("issuers", list(issuer, { min: 0, max: MAX_ISSUERS })));
  const cursor = { node, path: "", report };
  const issuers = document(cursor) ?? [];
  checkUnique({ ...cursor, path: "issuers" }, issuers, ownIssuer);
  return { issuers, diagnostics: report.diagnostics };
}
