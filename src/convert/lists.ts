/** A `List`, as `kubectl get -o yaml` prints several objects. */
import { childOf, type RawNode, textOf } from "../policy/decode/raw-node.ts";

/** The objects of a list in its place; any other document is itself. */
export function withoutLists(documents: readonly RawNode[]): readonly RawNode[] {
  return documents.flatMap((node) => {
    const items = textOf(childOf(node, "kind"))?.endsWith("List") === true ? childOf(node, "items") : undefined;
    return items?.kind === "list" ? items.items : [node];
  });
}
