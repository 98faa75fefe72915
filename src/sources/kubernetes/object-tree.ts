/** An object of an API server as the tree that decoders read. It has no lines: its place is its name. */
import type { Place } from "../../core/diagnostic.ts";
import { EMBEDDED_YAML_KEYS, PROXY_CONFIG } from "../../policy/decode/embedded-yaml.ts";
import type { RawEntry, RawNode } from "../../policy/decode/raw-node.ts";
import { parseEmbeddedYaml } from "../yaml-documents.ts";
import { isPlain } from "./api-objects.ts";

/** kubectl's copy of the manifest, up to 256 KiB of no meaning here. */
const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

/** Characters of an annotation that is read as YAML: whoever makes pods writes it, and to read 256 KiB would hold up everybody for seconds. */
const MAX_ANNOTATION_YAML = 8_192;
const LONG_HELP = "say only what differs from the mesh's `defaultConfig`";

/** Deeper than any schema of ours; decoders take none of what is below. */
const MAX_DEPTH = 64;

function toNode(value: unknown, place: Place, depth: number): RawNode {
  if (depth > MAX_DEPTH) return { kind: "unusable", reason: "is nested too deep", help: "flatten it", place };
  if (Array.isArray(value)) return { kind: "list", items: value.map((item) => toNode(item, place, depth + 1)), place };
  if (isPlain(value)) {
    const entries = Object.entries(value).map(
      ([key, child]): RawEntry => ({ key, place, value: withEmbedded(key, toNode(child, place, depth + 1)) }),
    );
    return { kind: "map", entries, place };
  }
  const scalar = typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? value : null;
  return { kind: "scalar", value: scalar, place };
}

/** A string with the tree of the YAML that it holds, as in a file. */
function withEmbedded(key: string, node: RawNode): RawNode {
  if (!EMBEDDED_YAML_KEYS.has(key) || node.kind !== "scalar" || typeof node.value !== "string") return node;
  const { value: text, place } = node;
  if (key === PROXY_CONFIG && text.length > MAX_ANNOTATION_YAML) {
    const reason = `is longer than ${MAX_ANNOTATION_YAML} characters`;
    return { ...node, embedded: { kind: "unusable", reason, help: LONG_HELP, place } };
  }
  return { ...node, embedded: parseEmbeddedYaml(text, place) };
}

function withoutBookkeeping(metadata: unknown): unknown {
  if (!isPlain(metadata)) return metadata;
  const { managedFields: _, annotations, ...rest } = metadata;
  if (!isPlain(annotations)) return rest;
  const { [LAST_APPLIED]: __, ...others } = annotations;
  return { ...rest, annotations: others };
}

/** The tree of an object, each node at `place`. */
export function objectTree(body: Readonly<Record<string, unknown>>, place: Place): RawNode {
  const { status: _, metadata, ...rest } = body;
  return toNode({ ...rest, metadata: withoutBookkeeping(metadata) }, place, 0);
}
