/** Services, which the old API named and today's does not: their selectors take the place of their names. */
import type { Diagnostic } from "../core/diagnostic.ts";
import { labels, NO_LABELS } from "../policy/decode/labels.ts";
import { LIMITS } from "../policy/decode/limits.ts";
import { DEFAULT_NAMESPACE } from "../policy/decode/metadata.ts";
import { protocolOfPort } from "../policy/decode/port-protocol.ts";
import { childOf, type RawNode, textOf } from "../policy/decode/raw-node.ts";
import { type Decoder, type Fields, integer, list, record, text } from "../policy/decode/reader.ts";
import { nullable } from "../policy/decode/refine.ts";
import { Report } from "../policy/decode/report.ts";
import type { Protocol, Selector } from "../policy/model.ts";

interface Port {
  readonly number: number;
  readonly name: string;
  /** The workload's port; a name says something only to the workload. */
  readonly target: number | string;
  readonly protocol: Protocol;
}

export interface Service {
  readonly namespace: string;
  readonly name: string;
  readonly host: string;
  readonly selector: Selector;
  readonly ports: readonly Port[];
}

const portNumber = integer(1, 65_535);

const targetPort: Decoder<number | string> = (cursor) => (textOf(cursor.node) === undefined ? portNumber(cursor) : text(cursor));

/** Kubernetes' other fields say nothing that a conversion needs. */
function only<T>(body: (fields: Fields) => T | undefined): Decoder<T> {
  return record((fields) => {
    fields.acceptAll();
    return body(fields);
  });
}

const port: Decoder<Port> = only((fields) => {
  const number = fields.required("port", portNumber);
  const name = fields.optional("name", text) ?? "";
  const target = fields.optional("targetPort", targetPort) ?? number;
  const protocol = protocolOfPort(name, fields.optional("appProtocol", text));
  return number === undefined || target === undefined ? undefined : { number, name, target, protocol };
});

const spec = only((fields) => ({
  selector: fields.optional("selector", nullable(labels, NO_LABELS)) ?? NO_LABELS,
  ports: fields.optional("ports", list(port, { max: LIMITS.ports })) ?? [],
}));

function decodeService(node: RawNode, clusterDomain: string, report: Report): Service | undefined {
  const meta = childOf(node, "metadata");
  const name = textOf(childOf(meta, "name"));
  const namespace = textOf(childOf(meta, "namespace")) ?? DEFAULT_NAMESPACE;
  const decoded = only((fields) => fields.required("spec", spec))({ node, path: "", report });
  return decoded === undefined || name === undefined
    ? undefined
    : { ...decoded, namespace, name, host: `${name}.${namespace}.svc.${clusterDomain}` };
}

/** Whether one workload may have the labels of both. */
export function compatible(left: Selector, right: Selector): boolean {
  return [...left].every(([key, value]) => (right.get(key) ?? value) === value);
}

/** The workload's ports behind a service's; `names` are those that only the workload could resolve. */
export function workloadPorts(service: Service): { readonly numbers: readonly number[]; readonly names: readonly string[] } {
  const targets = [...new Set(service.ports.map(({ target }) => target))];
  return { numbers: targets.filter((target) => typeof target === "number"), names: targets.filter((target) => typeof target === "string") };
}

export class ServiceIndex {
  readonly #services: readonly Service[];
  /** Of Services that cannot be read. */
  readonly diagnostics: readonly Diagnostic[];

  constructor(documents: readonly RawNode[], clusterDomain: string) {
    const report = new Report();
    const nodes = documents.filter((node) => textOf(childOf(node, "kind")) === "Service" && textOf(childOf(node, "apiVersion")) === "v1");
    this.#services = nodes.flatMap((node) => decodeService(node, clusterDomain, report) ?? []);
    this.diagnostics = report.diagnostics;
  }

  inNamespace(namespace: string): readonly Service[] {
    return this.#services.filter((service) => service.namespace === namespace);
  }

  find(namespace: string, name: string): Service | undefined {
    return this.#services.find((service) => service.namespace === namespace && service.name === name);
  }

  byHost(host: string): Service | undefined {
    return this.#services.find((service) => service.host === host);
  }

  /** Other services that may lead to the same workloads. */
  sharing(service: Service): readonly Service[] {
    return this.inNamespace(service.namespace).filter(
      (other) => other !== service && other.selector.size > 0 && compatible(service.selector, other.selector),
    );
  }
}
