/** What Envoy's access log says of a handshake, by the names of IANA's registry "TLS Cipher Suites". */
import { type TLSProperties, TLSProperties_TLSVersion } from "../gen/envoy/data/accesslog/v3/accesslog_pb.js";

const VERSIONS: Readonly<Partial<Record<TLSProperties_TLSVersion, string>>> = {
  [TLSProperties_TLSVersion.TLSv1_2]: "TLSv1.2",
  [TLSProperties_TLSVersion.TLSv1_3]: "TLSv1.3",
};

/** The suites with AEAD of both versions (RFC 8446 appendix B.4, RFC 5288, RFC 5289, RFC 7905); Envoy is given no others. */
const SUITES: ReadonlyMap<number, string> = new Map([
  [0x1301, "TLS_AES_128_GCM_SHA256"],
  [0x1302, "TLS_AES_256_GCM_SHA384"],
  [0x1303, "TLS_CHACHA20_POLY1305_SHA256"],
  [0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
  [0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"],
  [0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
  [0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"],
  [0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"],
  [0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"],
]);

/** What Envoy says where there is nothing to say. */
const NONE = "-";

/** `VERSION SUITE GROUP`; empty where there was no handshake, or none that ended well. A suite without a name is its number; the group is left out where it is not told. */
export function formatTls(tls: TLSProperties | undefined, group = ""): string {
  const version = tls === undefined ? undefined : VERSIONS[tls.tlsVersion];
  const suite = tls?.tlsCipherSuite;
  if (version === undefined || suite === undefined) return "";
  const name = SUITES.get(suite) ?? `TLS_0x${suite.toString(16).padStart(4, "0")}`;
  return [version, name, ...(group === "" || group === NONE ? [] : [group])].join(" ");
}
