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
import type { RawNode } from "../policy/decode/raw-node.ts";
import type { IpBlock } from "../policy/ip-block.ts";
import { followOperatorFile, type OperatorFile } from "./operator-file.ts";

const FILE: Omit<OperatorFile, "file"> = { what: "the file of issuers", option: "--issuers", begin: "issuers" };

export interface IssuersOptions {
  /** The file; without one nobody outside counts. An edit takes effect at once; one that cannot be taken changes nothing. */
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
  /** Undefined without a file. */
  readonly identities: OutsideIdentities | undefined;
  close(): void;
}

/** The issuers of a document: all of them or, with every reason, none. Throws `invalid-configuration`. */
function issuersOf(node: RawNode, ownIssuer: string): { readonly issuers: readonly OutsideIssuer[]; readonly warnings: readonly string[] } {
  const { issuers, diagnostics } = decodeIssuers(node, ownIssuer);
  const errors = diagnostics.filter((each) => severityOf(each) === "error");
  if (errors.length > 0)
    throw new AppError("invalid-configuration", `the file of issuers cannot be taken\n${errors.map(formatDiagnostic).join("\n")}`);
  return { issuers, warnings: diagnostics.map(formatDiagnostic) };
}

/** Opens the issuers, and follows their file. Throws `invalid-configuration`, `unsafe-permissions`, `not-found`. */
export function openIssuers({ file, trustDomain, ownIssuer, folder, allowed, clock, logger }: IssuersOptions): Issuers {
  if (file === undefined) return { identities: undefined, close: () => undefined };
  const guard = new AddressGuard(allowed);
  const keys = new JwksResolver({
    download: (source) => downloadJwks(source, { guard }),
    // Of its own: what a policy wants or no longer wants has no say here.
    store: new JwksStore(join(folder, "issuer-jwks")),
    clock,
    logger,
    onChange: () => undefined,
  });
  const joins = new InstanceJoins(join(folder, "instance-joins.sqlite"));
  const identities = new OutsideIdentities({ trustDomain, issuers: [], keysOf: (source) => keys.keysOf(source), joins, clock });
  const take = (node: RawNode): void => {
    const { issuers, warnings } = issuersOf(node, ownIssuer);
    for (const warning of warnings) logger.log("warn", warning);
    keys.want(issuers.flatMap((issuer) => (issuer.kind === "aws" || issuer.jwks.kind === "inline" ? [] : [issuer.jwks])));
    identities.replace(issuers);
    logger.log("info", "issuers outside vouch for workloads", { issuers: issuers.map(({ name, kind }) => `${name} (${kind})`).join() });
  };
  const close = (): void => {
    keys.close();
    joins.close();
  };
  try {
    const stop = followOperatorFile({ ...FILE, file }, take, logger);
    return {
      identities,
      close() {
        stop();
        close();
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}
