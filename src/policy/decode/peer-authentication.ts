/** Istio `security.v1.PeerAuthentication`. */
import type { MtlsMode, ObjectMeta, PeerAuthenticationObject } from "../model.ts";
import { NO_LABELS, selectorOrAll } from "./labels.ts";
import { LIMITS } from "./limits.ts";
import { textOf } from "./raw-node.ts";
import { type Decoder, type Fields, mapOf, partialRecord, record, wrong } from "./reader.ts";
import { oneOf } from "./refine.ts";
import { quote } from "./report.ts";

type Spec = Pick<PeerAuthenticationObject, "selector" | "mtls" | "portLevelMtls">;

const mtls = record((fields): MtlsMode => fields.optional("mode", oneOf(["UNSET", "DISABLE", "PERMISSIVE", "STRICT"])) ?? "UNSET");

const portKey: Decoder<number> = (cursor) => {
  const key = textOf(cursor.node) ?? "";
  const port = /^[1-9]\d{0,4}$/.test(key) ? Number(key) : Number.NaN;
  return port <= 65_535 ? port : wrong(cursor, "GAR0007", `is not a port: ${quote(key)}`, "write 1 to 65535, the workload's port");
};

const portLevelMtls = mapOf(portKey, mtls, { min: 1, max: LIMITS.ports });

const NO_PORTS: ReadonlyMap<number, MtlsMode> = new Map();
const EMPTY: Spec = { selector: NO_LABELS, mtls: "UNSET", portLevelMtls: NO_PORTS };

function readSpec(fields: Fields): Spec {
  const selector = selectorOrAll(fields);
  const ports = fields.optional("portLevelMtls", portLevelMtls);
  if (fields.has("portLevelMtls") && selector.size === 0) {
    // VA-4: ports are a workload's.
    wrong(
      fields.cursor,
      "GAR0005",
      "has `portLevelMtls` and no `selector`",
      "add a selector with the labels of the workload whose ports these are",
    );
  }
  return { selector, mtls: fields.optional("mtls", mtls) ?? "UNSET", portLevelMtls: ports ?? NO_PORTS };
}

/** The policy, as far as it can be read. */
export function decodePeerAuthentication(root: Fields, meta: ObjectMeta): PeerAuthenticationObject {
  return { kind: "PeerAuthentication", meta, ...(root.optional("spec", partialRecord(readSpec)) ?? EMPTY) };
}
