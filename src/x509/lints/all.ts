import { AppError } from "../../core/error.ts";
import type { Certificate } from "../certificate.ts";
import { basicConstraints } from "./basic-constraints.ts";
import { extendedKeyUsage } from "./extended-key-usage.ts";
import { foreignKeyUsage } from "./foreign-key-usage.ts";
import { issuerName } from "./issuer-name.ts";
import { keyIdentifiers } from "./key-identifiers.ts";
import { keyUsage } from "./key-usage.ts";
import type { Lint, LintContext } from "./lint.ts";
import { serialNumber } from "./serial-number.ts";
import { spiffeIdentity } from "./spiffe-identity.ts";
import { subjectAndNames } from "./subject-and-names.ts";
import { validity } from "./validity.ts";

export const LINTS: readonly Lint[] = [
  serialNumber,
  issuerName,
  validity,
  subjectAndNames,
  spiffeIdentity,
  basicConstraints,
  keyUsage,
  extendedKeyUsage,
  keyIdentifiers,
];

/** What holds for leaves of other CAs as well, which may have a subject, and leave out what a leaf needs not say of itself. */
const FOREIGN_LINTS: readonly Lint[] = [issuerName, validity, spiffeIdentity, foreignKeyUsage, extendedKeyUsage];

/** The first flaw of a leaf that another CA has signed. */
export function foreignFlaw(leaf: Certificate, context: LintContext): string | undefined {
  for (const { name, source, check } of FOREIGN_LINTS) {
    const flaw = check(leaf, context);
    if (flaw !== undefined) return `${flaw} (lint ${name}, ${source})`;
  }
  return undefined;
}

/** Throws `internal`, with the lint and its source, for a leaf that must not be signed: then the fault is ours. */
export function lintLeaf(leaf: Certificate, context: LintContext): void {
  for (const { name, source, check } of LINTS) {
    const flaw = check(leaf, context);
    if (flaw !== undefined) throw new AppError("internal", `a prepared certificate is not signed: ${flaw} (lint ${name}, ${source})`);
  }
}
