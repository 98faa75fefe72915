/** What an API server says of an object -> the document that it is taken for: decoded where people write it, observed where the cluster does. */
import type { Place } from "../../core/diagnostic.ts";
import { decodeObject } from "../../policy/decode/decode.ts";
import { type MeshObject, objectKey } from "../../policy/model.ts";
import type { DecodedDocument } from "../snapshot.ts";
import type { ApiObject } from "./api-objects.ts";
import { withHealth } from "./entry-health.ts";
import { objectTree } from "./object-tree.ts";
import { observe } from "./observed.ts";
import { withProxyConfig } from "./pod-proxy-config.ts";
import type { WatchedKind } from "./watched-kinds.ts";

function placeOf(kind: WatchedKind, { metadata }: ApiObject, cluster: string | undefined): Place {
  const name = metadata.namespace === "" ? metadata.name : `${metadata.namespace}/${metadata.name}`;
  // No line: the message says which field.
  return { file: `${kind.kind} ${name}${cluster === undefined ? "" : ` of cluster ${cluster}`}`, line: 0, column: 0 };
}

/** What is a cluster's own, with its name. */
function ofCluster(observed: MeshObject, cluster: string): MeshObject {
  return observed.kind === "Pod" || observed.kind === "EndpointSlice" ? { ...observed, cluster } : observed;
}

/** Undefined for what does not count. `cluster`: the name of one that is not the configuration's own. */
export function documentOf(kind: WatchedKind, object: ApiObject, cluster: string | undefined): DecodedDocument | undefined {
  const place = placeOf(kind, object, cluster);
  if (kind.reading === "decoded") return withHealth({ ...decodeObject(objectTree(object.body, place)), place }, object.body);
  const found = observe(kind.kind, object, place);
  if (found === undefined) return undefined;
  const observed = cluster === undefined ? found : ofCluster(found, cluster);
  const document = { valid: true, key: objectKey(observed), claim: undefined, place };
  if (observed.kind !== "Pod") return { ...document, object: observed, diagnostics: [] };
  const { pod, diagnostics } = withProxyConfig(observed, place);
  return { ...document, object: pod, diagnostics };
}
