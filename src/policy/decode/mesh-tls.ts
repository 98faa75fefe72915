/** Istio `meshMTLS` (`MeshConfig.TLSConfig`): versions and suites between workloads. */
import { CIPHER_SUITES, type CipherSuite, DEFAULT_MESH_TLS, ECDH_CURVES, type EcdhCurve, type MeshTls } from "../mesh-config.ts";
import { LIMITS } from "./limits.ts";
import { type Decoder, list, record, text, wrong } from "./reader.ts";
import { oneOf } from "./refine.ts";
import { quote } from "./report.ts";

const VERSIONS = { TLS_AUTO: "1.2", TLSV1_2: "1.2", TLSV1_3: "1.3" } as const;

/** A word of a list that both proxies know; what only one knows, or what is weak, is refused by name. */
function known<const T extends string>(words: readonly T[], what: string): Decoder<T> {
  return (cursor) => {
    const value = text(cursor);
    if (value === undefined) return undefined;
    const word = words.find((candidate) => candidate === value);
    return word ?? wrong(cursor, "GAR0004", `is not supported: ${quote(value)}`, `${what}: ${words.join(", ")}`);
  };
}

const suite = known<CipherSuite>(CIPHER_SUITES, "only authenticated encryption with forward secrecy is used");
const curve = known<EcdhCurve>(ECDH_CURVES, "the groups that both proxies know are");
/** Of the keys that agents make (RFC 8422 §5.1.1: OpenSSL does not show a certificate of another group, and BoringSSL does). */
const CERTIFICATE_CURVE: EcdhCurve = "P-256";
const bounds = { max: LIMITS.meshValues };

export const meshTls: Decoder<MeshTls> = record((fields) => {
  const version = fields.optional("minProtocolVersion", oneOf(["TLS_AUTO", "TLSV1_2", "TLSV1_3"]));
  const minVersion = VERSIONS[version ?? "TLS_AUTO"];
  const suites = fields.optional("cipherSuites", list(suite, bounds)) ?? [];
  const curves = fields.optional("ecdhCurves", list(curve, bounds)) ?? [];
  if (minVersion === "1.2" && curves.length > 0 && !curves.includes(CERTIFICATE_CURVE)) {
    const help = `add \`${CERTIFICATE_CURVE}\`, or set \`minProtocolVersion: TLSV1_3\`: in TLS 1.2 the groups are those of certificates as well`;
    wrong(fields.cursor, "GAR0007", `has \`ecdhCurves\` without \`${CERTIFICATE_CURVE}\`, and takes TLS 1.2`, help);
  }
  return {
    minVersion,
    cipherSuites: suites.length === 0 ? DEFAULT_MESH_TLS.cipherSuites : [...new Set(suites)],
    ecdhCurves: [...new Set(curves)],
  };
});
