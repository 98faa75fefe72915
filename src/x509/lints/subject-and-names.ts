import { OID } from "../oids.ts";
import type { Lint } from "./lint.ts";

const EMPTY_NAME = Buffer.from("3000", "hex");

/** With no subject, the names say it all and must be understood. */
export const subjectAndNames: Lint = {
  name: "subject-and-names",
  source: "RFC 5280 §4.1.2.6, §4.2.1.6",
  check: ({ subject, critical, names }) => {
    if (!EMPTY_NAME.equals(subject)) return "it has a subject";
    if (!critical.includes(OID.subjectAltName.hex)) return "its subject is empty, and its names are not critical";
    return names.every(({ kind }) => kind === "uri" || kind === "dns") ? undefined : "it has a name that is neither a URI nor a DNS name";
  },
};
