/** Trust between domains: the file of `garrison serve --federation`, and the endpoint where this domain's bundle is. */
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { formatBundle } from "../ca/federation/bundle-format.ts";
import { type BundleEndpoint, serveBundle } from "../ca/federation/endpoint.ts";
import { Federation } from "../ca/federation/federation.ts";
import { decodeRelations, type Relation } from "../ca/federation/relations.ts";
import type { Clock } from "../core/clock.ts";
import { formatDiagnostic } from "../core/diagnostic.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { TrustBundle } from "../identity/trust-bundle.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import type { RotatingTlsMaterial, TlsMaterial } from "../rpc/credentials.ts";
import { readOperatorFile } from "./operator-file.ts";

interface BundleEndpointConfig {
  readonly listen: { readonly host: string; readonly port: number };
  /** PEM files of an operator's certificate (`https_web`); without them, the control plane's own proves it (`https_spiffe`). */
  readonly files?: { readonly certificate: string; readonly key: string };
}

export interface FederationConfig {
  /** Which other trust domains are trusted: a file. */
  readonly federation?: string;
  /** Where others fetch this trust domain's bundle. */
  readonly bundleEndpoint?: BundleEndpointConfig;
}

/** The relations of a file; `names` are the mesh's own. Throws `not-found`, `unsafe-permissions` and `invalid-configuration`. */
export function readRelations(file: string, names: readonly string[]): readonly Relation[] {
  const node = readOperatorFile({ file, what: "the federation's file", option: "--federation", begin: "federatesWith" });
  const { relations, diagnostics } = decodeRelations(node, dirname(resolve(file)), names);
  if (diagnostics.length === 0) return relations;
  throw new AppError("invalid-configuration", `the federation's file cannot be taken\n${diagnostics.map(formatDiagnostic).join("\n")}`);
}

export interface FederationParts {
  readonly file: string | undefined;
  /** The state folder. */
  readonly folder: string;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Undefined where nobody is federated with. Throws what the operator must put right. */
export function openFederation({ file, folder, trustDomain, clock, logger }: FederationParts): Federation | undefined {
  if (file === undefined) return undefined;
  return new Federation({ read: (names) => readRelations(file, names), trustDomain, folder: join(folder, "federation"), clock, logger });
}

function readMaterial(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new AppError("not-found", "the bundle endpoint's certificate or key cannot be read", { where: file, cause });
  }
}

/** Undefined where none is wanted. `own` answers undefined as long as the bundle has no number. Throws what the operator must put right. */
export async function openBundleEndpoint(
  { bundleEndpoint }: FederationConfig,
  own: () => TrustBundle | undefined,
  serving: RotatingTlsMaterial,
  logger: Logger,
): Promise<BundleEndpoint | undefined> {
  if (bundleEndpoint === undefined) return undefined;
  const { listen, files } = bundleEndpoint;
  const material = (): Pick<TlsMaterial, "key" | "chain"> => {
    if (files !== undefined) return { key: readMaterial(files.key), chain: readMaterial(files.certificate) };
    const { current } = serving;
    if (current === undefined) throw new AppError("unavailable", "the control plane has no certificate");
    return current;
  };
  let last: { readonly of: TrustBundle; readonly document: string } | undefined;
  /** Whoever asks is not known: the certificates are looked at once. */
  const bundle = (): string | undefined => {
    const found = own();
    if (found === undefined) return undefined;
    if (last === undefined || !isDeepStrictEqual(last.of, found)) last = { of: found, document: formatBundle(found) };
    return last.document;
  };
  return serveBundle({ listen, material, bundle, logger });
}
