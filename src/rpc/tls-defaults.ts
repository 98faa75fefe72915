/**
 * The least of every TLS connection of this process: 1.2, by authenticated encryption with forward secrecy. grpc-js and Node's HTTPS have no say of their own, as they take Node's
 * defaults, which still have CBC (CVE-2026-47775). The groups stay OpenSSL's: X25519MLKEM768 first, where the peer has it.
 */
import tls from "node:tls";

const SUITES = [
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "TLS_AES_128_GCM_SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
];

/** Holds for every context that is made from then on and names no suites of its own. */
export function setTlsDefaults(): void {
  tls.DEFAULT_CIPHERS = SUITES.join(":");
  tls.DEFAULT_MIN_VERSION = "TLSv1.2";
}
