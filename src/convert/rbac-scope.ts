/** Where the old authorization was on: what RbacConfig says of namespaces and services. */
import type { OldObjects } from "./decode.ts";
import type { RbacConfig } from "./old-objects.ts";
import type { Service } from "./services.ts";

/** `config` is undefined where no RbacConfig is given: then it is taken as on, for whoever converts file by file. */
export class RbacScope {
  readonly config: RbacConfig | undefined;
  readonly #rootNamespace: string;

  constructor(config: RbacConfig | undefined, rootNamespace: string) {
    this.config = config;
    this.#rootNamespace = rootNamespace;
  }

  get isOff(): boolean {
    return this.config?.mode === "OFF";
  }

  /** Nothing is enforced, everything is only tried. */
  get isPermissive(): boolean {
    return this.config?.permissive === true;
  }

  holdsFor({ namespace, host }: Service): boolean {
    if (this.config === undefined) return true;
    const { mode, inclusion, exclusion } = this.config;
    const lists = ({ services, namespaces }: typeof inclusion): boolean =>
      namespaces.some(({ value }) => value === namespace) || services.some(({ value }) => value === host);
    return mode === "ON" || (mode === "ON_WITH_INCLUSION" && lists(inclusion)) || (mode === "ON_WITH_EXCLUSION" && !lists(exclusion));
  }

  /** Whether one policy without a selector may stand for all services of a namespace; for one that is excluded it adds nothing. */
  holdsForAllOf(namespace: string): boolean {
    if (namespace === this.#rootNamespace) return false;
    if (this.config === undefined) return true;
    const { mode, inclusion, exclusion } = this.config;
    const lists = ({ namespaces }: typeof inclusion): boolean => namespaces.some(({ value }) => value === namespace);
    return mode === "ON" || (mode === "ON_WITH_INCLUSION" && lists(inclusion)) || (mode === "ON_WITH_EXCLUSION" && !lists(exclusion));
  }
}

/** The one config in force: ClusterRbacConfig stands above RbacConfig. Others are told that they are not. */
export function configInForce(old: OldObjects): RbacConfig | undefined {
  const ordered = [...old.configs.filter(({ cluster }) => cluster), ...old.configs.filter(({ cluster }) => !cluster)];
  const [first, ...others] = ordered.map(({ config }) => config);
  for (const { report, meta, label } of others)
    report.add("GAR0104", meta.place, `${label} is not in force: ${first?.label} is`, "remove the one that does not count");
  return first;
}
