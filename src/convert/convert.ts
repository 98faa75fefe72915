/** Istio's older security API -> today's kinds, with what changed and what has no equal. What is not equal is not written, but for tokens: those are asked for rather too often. */
import type { Diagnostic } from "../core/diagnostic.ts";
import type { RawNode } from "../policy/decode/raw-node.ts";
import { convertAuthentication } from "./authentication.ts";
import { decodeOldObjects, diagnosticsOf, isOld, lostWith } from "./decode.ts";
import { TokenPaths } from "./origins.ts";
import { type ConvertedObject, type Note, Output } from "./output.ts";
import { convertRbac, type Settings } from "./rbac.ts";
import { ServiceIndex } from "./services.ts";

export interface Conversion {
  readonly objects: readonly ConvertedObject[];
  /** On old objects for which nothing is written. */
  readonly notes: readonly Note[];
  /** What has no equal: those objects are not among the converted, or ask for more than they did. */
  readonly diagnostics: readonly Diagnostic[];
  /** The documents that are not of the old API, as they came. */
  readonly passed: readonly RawNode[];
}

/** Converts documents that belong together, without lists. Never throws: what is wrong is a diagnostic. */
export function convert(documents: readonly RawNode[], settings: Settings): Conversion {
  const passed = documents.filter((node) => !isOld(node));
  const old = decodeOldObjects(documents.filter(isOld));
  const services = new ServiceIndex(documents, settings.clusterDomain);
  const output = new Output(passed);
  const tokenPaths = new TokenPaths();
  convertAuthentication(old, { services, settings, output, tokenPaths });
  const notes = [...convertRbac(old, services, settings, output), ...lostWith(old, output)];
  const diagnostics = [...services.diagnostics, ...diagnosticsOf(old), ...tokenPaths.diagnostics];
  return { objects: output.objects, notes, diagnostics, passed };
}
