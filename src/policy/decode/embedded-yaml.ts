/** YAML within a string of YAML, such as `data.mesh` of the ConfigMap `istio`. */
import type { RawNode } from "./raw-node.ts";
import { type Decoder, wrong, wrongType } from "./reader.ts";

/** Istio's annotation with the configuration of one workload's proxy. */
export const PROXY_CONFIG = "proxy.istio.io/config";

/** The keys whose text is YAML: whoever builds the tree reads them as such, and keeps the text as well. */
export const EMBEDDED_YAML_KEYS: ReadonlySet<string> = new Set(["mesh", "meshNetworks", PROXY_CONFIG]);

/** Nothing but comments and space. */
function isEmpty(node: RawNode): boolean {
  return node.kind === "scalar" && node.value === null;
}

/** What a string's YAML says, with its own places; `empty` where it says nothing. The paths in messages begin at `path`. */
export function yamlText<T>(decoder: Decoder<T>, empty: T, path?: string): Decoder<T> {
  return (cursor) => {
    const { node, report } = cursor;
    if (node.kind !== "scalar" || typeof node.value !== "string")
      return wrongType(cursor, "a string that holds YAML", "put a `|` after the colon, and indent what follows");
    if (node.embedded === undefined)
      return wrong(cursor, "GAR0006", "is not written out here", "write the text itself, not an alias of it");
    const { embedded } = node;
    if (isEmpty(embedded)) return empty;
    // What is wrong with the text as a whole is told by its own name.
    return decoder({ node: embedded, path: embedded.kind === "map" ? (path ?? cursor.path) : cursor.path, report });
  };
}
