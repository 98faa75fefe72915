/** The issuers outside the mesh whose word counts, and their keys. */
import { join } from "node:path";
import { decodeIssuers } from "../ca/issuers/decode.ts";
import { InstanceJoins } from "../ca/issuers/instance-joins.ts";
import type { OutsideIssuer } from "../ca/issuers/model.ts";
import { OutsideIdentities } from "../ca/issuers/outside-authenticator.ts";
import type { Clock } from "../core/clock.ts";
import { formatDiagnostic, severityOf } from "../core/diagnostic.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import { AddressGuard } from "../jwks/address-guard.ts";
import { downloadJwks } from "../jwks/download.ts";
import { JwksResolver } from "../jwks/resolver.ts";
import { JwksStore } from "../jwks/store.ts";
import type { IpBlock } from "../policy/ip-block.ts";
import { readOperatorFile } from "./operator-file.ts";

export interface IssuersOptions {
  /** The file; without one nobody outside counts. */
  readonly file: string | undefined;
  readonly trustDomain: TrustDomain;
  /** The `iss` of this control plane's own tokens. */
  readonly ownIssuer: string;
  /** The state folder. */
  readonly folder: string;
  /** Where keys may be fetched from besides the public internet. */
  readonly allowed: readonly IpBlock[];
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface Issuers {
  readonly identities: OutsideIdentities;
  close(): void;
}

/** The issuers of a file: all of them or, with every reason, none. Throws `invalid-configuration`, `unsafe-permissions`, `not-found`. */
function readIssuers(
  file: string,
  ownIssuer: string,
): { readonly issuers: readonly OutsideIssuer[]; readonly warnings: readonly string[] } {
  const node = readOperatorFile({ file, what: "the file of issuers", option: "--issuers", begin: "issuers" });
  const { issuers, diagnostics } = decodeIssuers(node, ownIssuer);
  const errors = diagnostics.filter((each) => severityOf(each) === "error");
  if (errors.length > 0)
    throw new AppError("invalid-configuration", `the file of issuers cannot be taken\n${errors.map(formatDiagnostic).join("\n")}`);
  return { issuers, warnings: diagnostics.map(formatDiagnostic) };
}

/** Opens the issuers of a start; they stay the same until the control plane ends, their keys do not. */
export function openIssuers({ file, trustDomain, ownIssuer, folder, allowed, clock, logger }: IssuersOptions): Issuers {
  const { issuers, warnings } = file === undefined ? { issuers: [], warnings: [] } : readIssuers(file, ownIssuer);
  for (const warning of warnings) logger.log("warn", warning);
  for (const { name, kind } of issuers) logger.log("info", "an issuer outside vouches for workloads", { name, kind });
  const guard = new AddressGuard(allowed);
  const keys = new JwksResolver({
    download: (source) => downloadJwks(source, { guard }),
    // Of its own: what a policy wants or no longer wants has no say here.
    store: new JwksStore(join(folder, "issuer-jwks")),
    clock,
    logger,
    onChange: () => undefined,
  });
  keys.want(issuers.flatMap((issuer) => (issuer.kind === "aws" || issuer.jwks.kind === "inline" ? [] : [issuer.jwks])));
  const joins = new InstanceJoins(join(folder, "instance-joins.sqlite"));
  const identities = new OutsideIdentities({ trustDomain, issuers, keysOf: (source) => keys.keysOf(source), joins, clock });
  const close = (): void => {
    keys.close();
    joins.close();
  };
  return { identities, close };
}
