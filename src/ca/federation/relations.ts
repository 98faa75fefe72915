/** Reads the file of `garrison serve --federation`: which trust domains are federated with, and where their bundles are. */
import { resolve } from "node:path";
import type { Diagnostic } from "../../core/diagnostic.ts";
import { isSpiffeIdOf } from "../../identity/spiffe-id.ts";
import { parseTrustDomain, type TrustDomain } from "../../identity/trust-domain.ts";
import { duration } from "../../policy/decode/duration.ts";
import type { RawNode } from "../../policy/decode/raw-node.ts";
import { type Decoder, type Fields, list, record, text, wrong } from "../../policy/decode/reader.ts";
import { matching, oneOf, parsed } from "../../policy/decode/refine.ts";
import { Report } from "../../policy/decode/report.ts";

/** How the endpoint proves that it is the domain's (SPIFFE Federation §5.2). */
export type EndpointProof =
  /** By the Web PKI, or by CAs of a file. */
  | { readonly profile: "https_web"; readonly caFile: string | undefined }
  /** By an X.509-SVID; `bundleFile` verifies the first one. */
  | { readonly profile: "https_spiffe"; readonly endpointSpiffeId: string; readonly bundleFile: string };

/** One trust domain that is federated with. */
export interface Relation {
  readonly trustDomain: TrustDomain;
  readonly url: string;
  readonly proof: EndpointProof;
  /** A bundle that was not fetched anew for so long is not trusted any more. */
  readonly staleAfterMs: number;
}

const MAX_RELATIONS = 64;
/** Its bundle is kept in a file of its name. */
const MAX_NAME = 240;
const DEFAULT_STALE_MS = 86_400_000;

const trustDomain = parsed(parseTrustDomain, "a trust domain", "use lower-case letters, digits, dots, dashes and underscores");
const url = matching(
  (value) => {
    const found = URL.canParse(value) ? new URL(value) : undefined;
    return found?.protocol === "https:" && `${found.username}${found.password}${found.hash}` === "";
  },
  "an https URL",
  "write it as `https://other.example:8443/`",
);
const staleAfter = duration({ leastMs: 5_000, maxMs: 2_592_000_000, help: "write it as `24h` or `30m`, from 5s to 720h" });
const spiffeId = matching(
  (value) => isSpiffeIdOf(value, value.split("/")[2] ?? ""),
  "a SPIFFE ID",
  "write it as `spiffe://other.example/ns/istio-system/sa/garrison`",
);

function proofOf(fields: Fields, folder: string, domain: TrustDomain | undefined): EndpointProof | undefined {
  const profile = fields.required("profile", oneOf(["https_web", "https_spiffe"]), "how its endpoint proves itself");
  if (profile === "https_web") {
    const file = fields.optional("caFile", text);
    return { profile, caFile: file === undefined ? undefined : resolve(folder, file) };
  }
  if (profile === undefined) {
    for (const name of ["caFile", "endpointSpiffeId", "bundleFile"]) fields.optional(name, text);
    return undefined;
  }
  const endpointSpiffeId = fields.required("endpointSpiffeId", spiffeId, "the SPIFFE ID of its endpoint");
  const file = fields.required("bundleFile", text, "its bundle, as its operator handed it over");
  if (endpointSpiffeId === undefined || file === undefined) return undefined;
  if (domain !== undefined && !endpointSpiffeId.startsWith(`spiffe://${domain}/`))
    return wrong(
      fields.cursor,
      "GAR0007",
      "names an endpoint of another trust domain",
      "an endpoint is of the trust domain whose bundle it serves",
    );
  return { profile, endpointSpiffeId, bundleFile: resolve(folder, file) };
}

function relation(folder: string): Decoder<Relation> {
  return record((fields) => {
    const name = fields.required("trustDomain", trustDomain);
    const address = fields.required("url", url);
    const proof = proofOf(fields, folder, name);
    const staleAfterMs = fields.optional("staleAfter", staleAfter) ?? DEFAULT_STALE_MS;
    return name === undefined || address === undefined || proof === undefined
      ? undefined
      : { trustDomain: name, url: address, proof, staleAfterMs };
  });
}

/** `names`: of the mesh itself. Why the domain may not be federated with; undefined where it may. */
function flawOf(name: TrustDomain, index: number, all: readonly Relation[], names: readonly string[]): string | undefined {
  if (names.includes(name)) return "is the mesh's own: another's bundle can never speak for it";
  if (name === "cluster.local") return "cannot be told from the mesh itself: policies mean it by that name";
  if (name.length > MAX_NAME) return `has more than ${MAX_NAME} characters, so that no file can have its name`;
  return all.findIndex(({ trustDomain: other }) => other === name) < index ? "is there twice" : undefined;
}

export interface DecodedRelations {
  /** Counts only where no diagnostic is an error. */
  readonly relations: readonly Relation[];
  readonly diagnostics: readonly Diagnostic[];
}

/** The relations of a document; paths are relative to `folder`, `names` are the mesh's own. */
export function decodeRelations(node: RawNode, folder: string, names: readonly string[]): DecodedRelations {
  const report = new Report();
  const document: Decoder<readonly Relation[]> = record((fields) => {
    const found = fields.required("federatesWith", list(relation(folder), { min: 0, max: MAX_RELATIONS }), "a list of trust domains");
    for (const [index, { trustDomain: name }] of (found ?? []).entries()) {
      const flaw = flawOf(name, index, found ?? [], names);
      if (flaw !== undefined) wrong(fields.cursor, "GAR0007", `federates with \`${name}\`, which ${flaw}`);
    }
    return found;
  });
  return { relations: document({ node, path: "", report }) ?? [], diagnostics: report.diagnostics };
}
