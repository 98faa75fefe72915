/** How an authority is named: by the identifier of its key, which every certificate that it signs carries (RFC 5280 §4.2.1.1). */
import type { Certificate } from "../x509/certificate.ts";
import { hexOf } from "../x509/hex.ts";
import { keyIdentifier } from "../x509/public-key.ts";

/** Lower-case hex. */
export function authorityId({ subjectKeyId, spki }: Certificate): string {
  return subjectKeyId ?? hexOf(keyIdentifier(spki));
}
