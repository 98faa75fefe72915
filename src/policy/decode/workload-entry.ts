/** Istio `networking.v1.WorkloadEntry`. */
import { parseIpAddress } from "../ip-block.ts";
import type { ObjectMeta, WorkloadEntryObject } from "../model.ts";
import { dnsSubdomain, isDnsSubdomain, portName } from "./kubernetes-name.ts";
import { labels } from "./labels.ts";
import { LIMITS } from "./limits.ts";
import { annotatedProxyConfig } from "./proxy-config.ts";
import { type Decoder, type Fields, integer, mapOf, record, text, wrong } from "./reader.ts";
import { quote } from "./report.ts";

const address: Decoder<string> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  const parsed = parseIpAddress(value);
  if (parsed?.bytes.some((byte) => byte !== 0)) return value;
  if (parsed === undefined && (value.startsWith("unix://") || (isDnsSubdomain(value.toLowerCase()) && /[a-z]/i.test(value)))) {
    return wrong(
      cursor,
      "GAR0004",
      `is not supported: ${quote(value)}`,
      "write the workload's IP address: DNS names and Unix sockets are not supported",
    );
  }
  return wrong(cursor, "GAR0007", `is not the address of a workload: ${quote(value)}`, "write it as `10.1.2.3` or `2001:db8::1`");
};

/** By the names of service ports. */
export const endpointPorts = mapOf(portName, integer(1, 65_535), { max: LIMITS.ports });

export const NO_PORTS: ReadonlyMap<string, number> = new Map();

/** Istio lets metadata win where both name a label; a policy that selects by the other value would then be lost, so they must agree. */
export function labelsAgreeingWith(others: ReadonlyMap<string, string>, where: string): Decoder<ReadonlyMap<string, string>> {
  return (cursor) => {
    const own = labels(cursor);
    if (own === undefined) return undefined;
    const differing = [...own].find(([key, value]) => (others.get(key) ?? value) !== value);
    if (differing === undefined) return new Map([...others, ...own]);
    const [key, value] = differing;
    const why = `has \`${key}: ${value}\`, and \`${where}\` has \`${key}: ${others.get(key)}\``;
    return wrong(cursor, "GAR0007", why, "give the label one value");
  };
}

/** What Istio has and one mesh of equal endpoints has no use for. */
export const UNSUPPORTED_OF_ENDPOINT = {
  network: "all workloads must reach each other directly: remove the field",
  locality: "all endpoints of a service are used alike: remove the field",
  weight: "all endpoints of a service are used alike: remove the field",
};

function specOf(meta: ObjectMeta): Decoder<Omit<WorkloadEntryObject, "kind" | "meta">> {
  return record((fields) => {
    const host = fields.required("address", address);
    const serviceAccount = fields.required(
      "serviceAccount",
      dnsSubdomain,
      "it names the workload's identity: without one it gets no certificate",
    );
    const own = fields.optional("labels", labelsAgreeingWith(meta.labels, "metadata.labels")) ?? meta.labels;
    const named = fields.optional("ports", endpointPorts) ?? NO_PORTS;
    fields.refuse(UNSUPPORTED_OF_ENDPOINT);
    return host === undefined || serviceAccount === undefined ? undefined : { address: host, serviceAccount, labels: own, ports: named };
  });
}

export function decodeWorkloadEntry(root: Fields, meta: ObjectMeta): WorkloadEntryObject | undefined {
  const spec = root.required("spec", specOf(meta));
  const proxyConfig = annotatedProxyConfig(root.cursor);
  if (spec === undefined) return undefined;
  return { kind: "WorkloadEntry", meta, ...spec, ...(proxyConfig === undefined ? {} : { proxyConfig }) };
}
