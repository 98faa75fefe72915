/** The CA of `garrison serve --ca-upstream`. */
import { dirname, resolve } from "node:path";
import { decodeUpstream } from "../ca/upstream/decode.ts";
import { IstioUpstream } from "../ca/upstream/istio.ts";
import type { UpstreamConfig } from "../ca/upstream/model.ts";
import { StepUpstream } from "../ca/upstream/step-ca.ts";
import { UpstreamCa } from "../ca/upstream/upstream-ca.ts";
import type { Clock } from "../core/clock.ts";
import { formatDiagnostic } from "../core/diagnostic.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { readOperatorFile } from "./operator-file.ts";

function readConfig(file: string): UpstreamConfig {
  const node = readOperatorFile({ file, what: "the file of the other CA", option: "--ca-upstream", begin: "kind" });
  const { config, diagnostics } = decodeUpstream(node, dirname(resolve(file)));
  if (config !== undefined && diagnostics.length === 0) return config;
  throw new AppError("invalid-configuration", `the file of the other CA cannot be taken\n${diagnostics.map(formatDiagnostic).join("\n")}`);
}

/** Throws what the operator must put right. */
export function openUpstreamCa(file: string, { clock, logger }: { readonly clock: Clock; readonly logger: Logger }): UpstreamCa {
  const config = readConfig(file);
  return new UpstreamCa({
    rootsFile: config.rootsFile,
    clock,
    logger,
    connect: (roots) => (config.kind === "istio" ? new IstioUpstream(config, roots) : new StepUpstream(config, roots, clock)),
  });
}
