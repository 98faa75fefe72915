/** The CA of `garrison serve --ca-upstream`. */
import { readFileSync, statSync } from "node:fs";
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
import { parseYamlDocuments } from "../sources/yaml-documents.ts";

const MAX_BYTES = 64 * 1024;
const OTHERS_WRITE = 0o022;

function readText(file: string): string {
  try {
    const { mode, size } = statSync(file);
    if ((mode & OTHERS_WRITE) !== 0)
      throw new AppError("unsafe-permissions", "others may write the file that says who signs", {
        where: file,
        help: `chmod go-w ${file}`,
      });
    if (size <= MAX_BYTES) return readFileSync(file, "utf8");
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError("not-found", "the file of the other CA cannot be read", {
      where: file,
      help: "name a file with --ca-upstream FILE",
      cause,
    });
  }
  throw new AppError("invalid-configuration", `the file has more than ${MAX_BYTES} bytes`, { where: file });
}

function readConfig(file: string): UpstreamConfig {
  const { documents, diagnostic } = parseYamlDocuments(readText(file), file);
  const [node, ...others] = documents;
  if (diagnostic !== undefined || node === undefined || others.length > 0) {
    const why = diagnostic === undefined ? "" : `\n${formatDiagnostic(diagnostic)}`;
    throw new AppError("invalid-configuration", `the file is not one YAML document${why}`, { where: file, help: "begin it with `kind:`" });
  }
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
