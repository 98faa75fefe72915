/** The roots that this machine trusts, as its distribution keeps them: for servers outside the mesh. */
import { readFileSync } from "node:fs";

/** Debian, Fedora, openSUSE, RHEL, Alpine; in Go's order (`crypto/x509/root_linux.go`). */
const BUNDLES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/tls/cacert.pem",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

/** PEM; empty where there are none, so that no server can be verified. `SSL_CERT_FILE` names another file, as for OpenSSL. */
export function readSystemRoots(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  const named = environment.SSL_CERT_FILE;
  for (const path of named === undefined || named === "" ? BUNDLES : [named]) {
    try {
      return readFileSync(path, "utf8");
    } catch {
      // The next one; a distribution has one of them.
    }
  }
  return "";
}
