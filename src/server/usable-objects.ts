/** Of one configuration after another, what can be put in force: what has not changed is neither checked nor listed again. */
import type { Diagnostic } from "../core/diagnostic.ts";
import { admitMeshConfig, type FixedSettings } from "../mesh/mesh-config.ts";
import { ObjectIndex } from "../mesh/object-index.ts";
import type { MeshSettings } from "../mesh/snapshot.ts";
import { type ConfigMapObject, type MeshObject, objectKey, type SecretObject } from "../policy/model.ts";
import { meshRootsCheck } from "./mesh-roots-check.ts";
import { type Checked, SecretCheck } from "./secrets.ts";

export class UsableObjects {
  readonly #settings: MeshSettings;
  readonly #fixed: FixedSettings;
  readonly #check = new SecretCheck();
  readonly #checkRoots = meshRootsCheck();
  #checked: { readonly of: readonly SecretObject[]; readonly outcome: Checked<SecretObject> } | undefined;
  /** What was admitted of the mesh's configuration last. */
  #configMaps: readonly ConfigMapObject[] = [];
  #given = ObjectIndex.of([]);
  #usable = this.#given;

  /** `fixed`: what no configuration may change. */
  constructor(settings: MeshSettings, fixed: FixedSettings) {
    this.#settings = settings;
    this.#fixed = fixed;
  }

  /** Those of the last configuration. */
  get current(): ObjectIndex {
    return this.#usable;
  }

  /**
   * Takes the next configuration; returns why not all of it can be used. `isKept`: whether an object is there in its last valid form, since its present one is
   * broken. If that form was refused, it is in no file any more, and nothing of it is left to mend.
   */
  take(objects: readonly MeshObject[], isKept: (key: string) => boolean = () => false): readonly Diagnostic[] {
    this.#given = this.#given.next(objects);
    const admitted = admitMeshConfig(this.#settings, this.#fixed, this.#given.of("ConfigMap"), this.#configMaps, this.#checkRoots);
    const secrets = this.#secrets(this.#given.of("Secret"));
    this.#configMaps = admitted.objects;
    this.#usable = this.#given.with("ConfigMap", admitted.objects).with("Secret", secrets.objects);
    const isPast = admitted.refused !== undefined && isKept(objectKey(admitted.refused));
    const told = isPast ? admitted.diagnostics.filter(({ code }) => code === "GAR0014") : admitted.diagnostics;
    return [...told, ...secrets.diagnostics];
  }

  #secrets(secrets: readonly SecretObject[]): Checked<SecretObject> {
    const outcome = this.#checked?.of === secrets ? this.#checked.outcome : this.#check.check(secrets);
    this.#checked = { of: secrets, outcome };
    return outcome;
  }
}
