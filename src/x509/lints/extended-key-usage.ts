import { OID } from "../oids.ts";
import type { Lint } from "./lint.ts";

const PURPOSES = [OID.serverAuth.hex, OID.clientAuth.hex];

export const extendedKeyUsage: Lint = {
  name: "extended-key-usage",
  source: "SPIFFE X509-SVID §4.4",
  check: ({ extendedKeyUsage: found = [] }) =>
    found.length === PURPOSES.length && PURPOSES.every((purpose) => found.includes(purpose))
      ? undefined
      : "it is not for servers and clients, and for nothing else",
};
