/** Kubernetes `v1` Secret, as far as it holds certificates for gateways (SN-8). No message here has a value in it. */
import { SecretText } from "../../core/secret-text.ts";
import type { SecretContents } from "../gateway.ts";
import type { ObjectMeta, SecretObject } from "../model.ts";
import { LIMITS } from "./limits.ts";
import { boolean, type Decoder, type Fields, record, stringUpTo, wrong } from "./reader.ts";
import { only } from "./refine.ts";

const encoded = stringUpTo(LIMITS.secret);

function asText(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** PEM is ASCII (RFC 7468 §2), so a character is a byte. */
const base64: Decoder<string> = (cursor) => {
  const value = encoded(cursor);
  if (value === undefined) return undefined;
  try {
    return asText(Uint8Array.fromBase64(value));
  } catch {
    return wrong(cursor, "GAR0007", "is not base64", "write the text itself under `stringData`");
  }
};

const CERTIFICATE = /-----BEGIN CERTIFICATE-----/;
const KEY = /-----BEGIN (?:EC |RSA )?PRIVATE KEY-----/;
const CRL = /-----BEGIN X509 CRL-----/;

/** An empty value is as good as none. */
function pem(text: Decoder<string>, label: RegExp, what: string): Decoder<string> {
  return (cursor) => {
    const value = text(cursor);
    if (value === undefined || value === "" || label.test(value)) return value;
    return wrong(cursor, "GAR0007", `holds no ${what} in PEM`, "encrypted keys and DER are not taken");
  };
}

function readFirst(fields: Fields, text: Decoder<string>, label: RegExp, what: string, ...names: readonly string[]): string | undefined {
  const found = names.map((name) => fields.optional(name, pem(text, label, what)));
  return found.find((value) => value !== undefined && value !== "");
}

/** Both of Istio's sets of names; what else a Secret may hold is its applications'. */
function contents(text: Decoder<string>): Decoder<SecretContents> {
  return record((fields) => {
    const chain = readFirst(fields, text, CERTIFICATE, "certificate", "tls.crt", "cert");
    const key = readFirst(fields, text, KEY, "private key", "tls.key", "key");
    const ca = readFirst(fields, text, CERTIFICATE, "certificate", "ca.crt", "cacert");
    const crl = readFirst(fields, text, CRL, "revocation list", "ca.crl", "crl");
    fields.acceptRest();
    return { chain, key: key === undefined ? undefined : new SecretText(key), ca, crl };
  });
}

const NOTHING: SecretContents = { chain: undefined, key: undefined, ca: undefined, crl: undefined };

export function decodeSecret(root: Fields, meta: ObjectMeta): SecretObject {
  root.optional("type", only(["kubernetes.io/tls", "Opaque"], "only certificates are read from secrets: take others out of the folder"));
  root.optional("immutable", boolean);
  const data = root.optional("data", contents(base64)) ?? NOTHING;
  // Kubernetes: where both name a key, `stringData` wins.
  const plain = root.optional("stringData", contents(encoded)) ?? NOTHING;
  return {
    kind: "Secret",
    meta,
    chain: plain.chain ?? data.chain,
    key: plain.key ?? data.key,
    ca: plain.ca ?? data.ca,
    crl: plain.crl ?? data.crl,
  };
}
