/** On which node each pod is: also of pods that have no address yet, whose proxy asks before they start. */
import { type ApiObject, isPlain } from "./api-objects.ts";

interface PlacedPod {
  readonly uid: string;
  readonly node: string;
  readonly serviceAccount: string;
}

const ENDED: readonly unknown[] = ["Succeeded", "Failed"];

/** Undefined for one that is on no node, or has ended. */
function placeOf({ body: { metadata, spec, status } }: ApiObject): PlacedPod | undefined {
  const { uid } = isPlain(metadata) ? metadata : {};
  const { nodeName: node, serviceAccountName } = isPlain(spec) ? spec : {};
  if (typeof uid !== "string" || typeof node !== "string" || node === "") return undefined;
  if (isPlain(status) && ENDED.includes(status.phase)) return undefined;
  return { uid, node, serviceAccount: typeof serviceAccountName === "string" ? serviceAccountName : "default" };
}

export class PlacedPods {
  readonly #objects: () => ReadonlyMap<string, ApiObject> | undefined;
  /** Made when it is asked for, of the pods of that moment. */
  #index: { readonly pods: ReadonlyMap<string, PlacedPod>; readonly accounts: ReadonlySet<string> } | undefined;

  /** `objects`: the pods of now, by `NAMESPACE/NAME`. */
  constructor(objects: () => ReadonlyMap<string, ApiObject> | undefined) {
    this.#objects = objects;
  }

  /** The pods are others. */
  changed(): void {
    this.#index = undefined;
  }

  find(namespace: string, name: string): PlacedPod | undefined {
    return this.#indexed().pods.get(`${namespace}/${name}`);
  }

  /** Whether a pod with this account, which has not ended, is on the node. */
  runsOn(node: string, namespace: string, serviceAccount: string): boolean {
    return this.#indexed().accounts.has(`${node}/${namespace}/${serviceAccount}`);
  }

  #indexed() {
    this.#index ??= this.#build();
    return this.#index;
  }

  #build() {
    const pods = new Map<string, PlacedPod>();
    const accounts = new Set<string>();
    for (const [key, object] of this.#objects() ?? []) {
      const place = placeOf(object);
      if (place === undefined) continue;
      pods.set(key, place);
      accounts.add(`${place.node}/${object.metadata.namespace}/${place.serviceAccount}`);
    }
    return { pods, accounts };
  }
}
