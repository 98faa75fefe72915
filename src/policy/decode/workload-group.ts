/** Istio `networking.v1.WorkloadGroup`. */
import { parseIpBlock } from "../ip-block.ts";
import type { ObjectMeta, WorkloadGroupObject } from "../model.ts";
import { healthProbe } from "./health-probe.ts";
import { dnsSubdomain } from "./kubernetes-name.ts";
import { labels, NO_LABELS } from "./labels.ts";
import { LIMITS } from "./limits.ts";
import { annotatedProxyConfig } from "./proxy-config.ts";
import { type Decoder, type Fields, mapOf, record, stringUpTo, text, wrong } from "./reader.ts";
import { nullable } from "./refine.ts";
import { quote } from "./report.ts";
import { endpointPorts, labelsAgreeingWith, NO_PORTS, UNSUPPORTED_OF_ENDPOINT } from "./workload-entry.ts";

/** Ours: addresses, as CIDR blocks with commas between them, that members may have though their connections come from others (NAT). */
export const ADDRESSES_ANNOTATION = "garrison.dev/addresses";

/** What is said of members that have registered, and of nobody else. */
const OF_REGISTRATION =
  /^(?:istio\.io\/(?:autoRegistrationGroup|workloadController|connectedAt|disconnectedAt)|proxy\.istio\.io\/health-checks-enabled)$/;

/** The blocks of the annotation. Throws `invalid-argument`. */
export function parseAddressBlocks(value: string) {
  return value
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "")
    .map(parseIpBlock);
}

const annotationKey: Decoder<string> = (cursor) => {
  const key = text(cursor);
  if (key === undefined || !OF_REGISTRATION.test(key)) return key;
  return wrong(cursor, "GAR0007", "is what a registration says of a member", "remove it");
};

interface Described {
  readonly labels: ReadonlyMap<string, string>;
  readonly annotations: ReadonlyMap<string, string>;
}

const NOTHING: Described = { labels: NO_LABELS, annotations: NO_LABELS };

/** `spec.metadata`: what members get besides their template. */
const described: Decoder<Described> = record((fields) => ({
  labels: fields.optional("labels", nullable(labels, NO_LABELS)) ?? NO_LABELS,
  annotations:
    fields.optional("annotations", nullable(mapOf(annotationKey, stringUpTo(LIMITS.annotation), { max: LIMITS.annotations }), NO_LABELS)) ??
    NO_LABELS,
}));

function templateOf(members: Described): Decoder<Pick<WorkloadGroupObject, "labels" | "ports" | "serviceAccount">> {
  return record((fields) => {
    const serviceAccount = fields.required(
      "serviceAccount",
      dnsSubdomain,
      "it names the members' identity: whoever has it may register, and nobody else",
    );
    const own = fields.optional("labels", labelsAgreeingWith(members.labels, "spec.metadata.labels")) ?? members.labels;
    const ports = fields.optional("ports", endpointPorts) ?? NO_PORTS;
    fields.refuse({ address: "each member brings its own: remove the field", ...UNSUPPORTED_OF_ENDPOINT });
    return serviceAccount === undefined ? undefined : { labels: own, ports, serviceAccount };
  });
}

const spec: Decoder<Omit<WorkloadGroupObject, "kind" | "meta">> = record((fields) => {
  const members = fields.optional("metadata", described) ?? NOTHING;
  annotatedProxyConfig(fields.cursor);
  const template = fields.required("template", templateOf(members));
  const probe = fields.optional("probe", healthProbe);
  return template === undefined ? undefined : { ...template, annotations: members.annotations, probe };
});

function checkBlocks(root: Fields, meta: ObjectMeta): void {
  const value = meta.annotations.get(ADDRESSES_ANNOTATION);
  if (value === undefined) return;
  try {
    parseAddressBlocks(value);
  } catch {
    const { report } = root.cursor;
    const message = `annotation \`${ADDRESSES_ANNOTATION}\` is not a list of CIDR blocks: ${quote(value)}`;
    report.add("GAR0007", meta.place, message, "write it as `192.0.2.0/24, 2001:db8::/32`");
  }
}

export function decodeWorkloadGroup(root: Fields, meta: ObjectMeta): WorkloadGroupObject | undefined {
  checkBlocks(root, meta);
  const decoded = root.required("spec", spec);
  return decoded === undefined ? undefined : { kind: "WorkloadGroup", meta, ...decoded };
}
