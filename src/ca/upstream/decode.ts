/** Reads the file of `garrison serve --ca-upstream`. */
import { resolve } from "node:path";
import type { Diagnostic } from "../../core/diagnostic.ts";
import type { RawNode } from "../../policy/decode/raw-node.ts";
import { type Decoder, type Fields, record, text, wrong } from "../../policy/decode/reader.ts";
import { matching, oneOf } from "../../policy/decode/refine.ts";
import { Report } from "../../policy/decode/report.ts";
import type { IstioUpstreamConfig, StepUpstreamConfig, UpstreamConfig } from "./model.ts";

function port(text: string): boolean {
  return /^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65_535;
}

const address = matching(
  (value) => /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]{1,253}):\d{1,5}$/.test(value) && port(value.slice(value.lastIndexOf(":") + 1)),
  "an address with its port",
  "write it as `istiod.istio-system.svc:15012`",
);
const serverName = matching(
  (value) => /^[A-Za-z0-9.-]{1,253}$/.test(value),
  "a DNS name",
  "write it as `istiod.istio-system.svc`, without a port",
);
const url = matching(
  (value) => {
    const parsed = URL.canParse(value) ? new URL(value) : undefined;
    return parsed?.protocol === "https:" && parsed.pathname === "/" && `${parsed.search}${parsed.hash}${parsed.username}` === "";
  },
  "an https URL without a path",
  "write it as `https://ca.example.org:9000`",
);

function credentialOf(fields: Fields, path: (name: string) => string | undefined): IstioUpstreamConfig["credential"] | undefined {
  const [tokenFile, certificateFile, keyFile] = [path("tokenFile"), path("certificateFile"), path("keyFile")];
  if (tokenFile !== undefined && certificateFile === undefined && keyFile === undefined) return { tokenFile };
  if (tokenFile === undefined && certificateFile !== undefined && keyFile !== undefined) return { certificateFile, keyFile };
  return wrong(fields.cursor, "GAR0007", "has not one credential", "give `tokenFile`, or `certificateFile` and `keyFile`");
}

/** Reads a path that is relative to the file's own folder. */
function paths(fields: Fields, folder: string) {
  const optional = (name: string): string | undefined => {
    const value = fields.optional(name, text);
    return value === undefined ? undefined : resolve(folder, value);
  };
  const required = (name: string, help: string): string => resolve(folder, fields.required(name, text, help) ?? "");
  return { optional, required };
}

const ROOTS_HELP = "the certificates that its own and those that it signs lead to";

function istio(fields: Fields, folder: string): IstioUpstreamConfig | undefined {
  const { optional, required } = paths(fields, folder);
  const at = fields.required("address", address);
  const rootsFile = required("rootsFile", ROOTS_HELP);
  const credential = credentialOf(fields, optional);
  const name = fields.optional("serverName", serverName);
  if (at === undefined || credential === undefined) return undefined;
  return { kind: "istio", address: at, rootsFile, credential, serverName: name ?? at.slice(0, at.lastIndexOf(":")) };
}

function stepCa(fields: Fields, folder: string): StepUpstreamConfig | undefined {
  const { required } = paths(fields, folder);
  const at = fields.required("url", url);
  const rootsFile = required("rootsFile", ROOTS_HELP);
  const provisioner = fields.required("provisioner", text, "the name of a JWK provisioner");
  const keyFile = required("keyFile", "the private key of the provisioner, as JWK or PEM");
  return at === undefined || provisioner === undefined
    ? undefined
    : { kind: "step-ca", url: new URL(at).origin, rootsFile, provisioner, keyFile };
}

export interface DecodedUpstream {
  /** Counts only where no diagnostic is an error. */
  readonly config: UpstreamConfig | undefined;
  readonly diagnostics: readonly Diagnostic[];
}

/** The CA of a document; paths are relative to `folder`. */
export function decodeUpstream(node: RawNode, folder: string): DecodedUpstream {
  const report = new Report();
  const document: Decoder<UpstreamConfig> = record((fields) => {
    const kind = fields.required("kind", oneOf(["istio", "step-ca"]));
    if (kind === "istio") return istio(fields, folder);
    if (kind === "step-ca") return stepCa(fields, folder);
    fields.acceptAll();
    return undefined;
  });
  return { config: document({ node, path: "", report }), diagnostics: report.diagnostics };
}
