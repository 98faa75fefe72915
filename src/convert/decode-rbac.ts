/** `rbac.istio.io/v1alpha1` ServiceRole, ServiceRoleBinding, RbacConfig and ClusterRbacConfig. */
import { LIMITS } from "../policy/decode/limits.ts";
import { type Decoder, type Fields, integer, list, mapOf, record, text, wrong } from "../policy/decode/reader.ts";
import { nullable, oneOf } from "../policy/decode/refine.ts";
import { either, located, locatedTexts, texts } from "./fields.ts";
import {
  type AccessRule,
  type Condition,
  type Located,
  type OldObject,
  OPERATION_FIELDS,
  type OperationField,
  type RbacConfig,
  type RbacTargets,
  type ServiceRole,
  type ServiceRoleBinding,
  SUBJECT_LISTS,
  type Subject,
  type SubjectList,
} from "./old-objects.ts";

const BOUNDS = { max: LIMITS.elements };

/** Lists by name; an empty one is the same as none. */
function lists<K extends string>(
  fields: Fields,
  names: readonly K[],
  decoderOf: (name: K) => Decoder<readonly string[]>,
): Partial<Record<K, readonly string[]>> {
  const result: Partial<Record<K, readonly string[]>> = {};
  for (const name of names) {
    const values = either(fields, name, decoderOf(name));
    if (values !== undefined && values.length > 0) result[name] = values;
  }
  return result;
}

// === ServiceRole ===

const ports: Decoder<readonly string[]> = (cursor) => list(integer(0, 65_535), { max: LIMITS.ports })(cursor)?.map(String);

const constraint: Decoder<Condition> = record((fields) => {
  const key = fields.required("key", text);
  const values = fields.required("values", list(text, { min: 1, max: LIMITS.values }));
  return key === undefined || values === undefined ? undefined : { key, values, place: fields.cursor.node.place };
});

/** Braces are a template's today, and were plain characters. */
const pathTexts: Decoder<readonly string[]> = (cursor) => {
  const values = texts(cursor);
  if (values?.some((value) => /[{}]/.test(value)) !== true) return values;
  return wrong(
    cursor,
    "GAR0004",
    "has a path with braces, which has no equal",
    "today braces make a path template: write the paths that are meant",
  );
};

function decoderOf(name: OperationField): Decoder<readonly string[]> {
  if (name === "ports" || name === "notPorts") return ports;
  return name === "paths" || name === "notPaths" ? pathTexts : texts;
}

const accessRule: Decoder<AccessRule> = record((fields) => ({
  place: fields.cursor.node.place,
  services: fields.optional("services", locatedTexts) ?? [],
  operation: lists<OperationField>(fields, OPERATION_FIELDS, decoderOf),
  constraints: fields.optional("constraints", list(constraint, BOUNDS)) ?? [],
}));

const roleSpec = record((fields) => fields.required("rules", list(accessRule, { min: 1, max: LIMITS.rules })));

export function decodeServiceRole(root: Fields, base: OldObject): ServiceRole | undefined {
  const rules = root.required("spec", roleSpec);
  return rules === undefined ? undefined : { ...base, rules };
}

// === ServiceRoleBinding ===

const properties = mapOf(text, located(text), { max: LIMITS.elements });

const subject: Decoder<Subject> = record((fields) => {
  const entries = [...(fields.optional("properties", properties) ?? [])];
  return {
    place: fields.cursor.node.place,
    user: fields.optional("user", text),
    group: fields.optional("group", text),
    lists: lists<SubjectList>(fields, SUBJECT_LISTS, () => texts),
    properties: entries.map(([key, { value, place }]) => ({ key, values: [value], place })),
  };
});

const roleRef: Decoder<Located<string>> = record((fields) => {
  fields.optional("kind", oneOf(["ServiceRole"]));
  fields.accept("apiGroup");
  return fields.required("name", located(text));
});

const UNSUPPORTED_OF_BINDING = {
  actions: "no sidecar ever read it: write a ServiceRole and name it in `roleRef`",
  role: "no sidecar ever read it: write `roleRef`",
};

const modes = oneOf(["ENFORCED", "PERMISSIVE"]);

type BindingSpec = Omit<ServiceRoleBinding, keyof OldObject>;

const bindingSpec: Decoder<BindingSpec> = record((fields) => {
  const role = either(fields, "roleRef", roleRef);
  const subjects = fields.required("subjects", list(subject, { min: 1, max: LIMITS.elements }));
  const permissive = fields.optional("mode", modes) === "PERMISSIVE";
  fields.refuse(UNSUPPORTED_OF_BINDING);
  if (!fields.has("roleRef") && !fields.has("role_ref"))
    return wrong(fields.cursor, "GAR0005", "has no `roleRef`", "name the ServiceRole that is given");
  return role === undefined || subjects === undefined ? undefined : { role, subjects, permissive };
});

export function decodeServiceRoleBinding(root: Fields, base: OldObject): ServiceRoleBinding | undefined {
  const spec = root.required("spec", bindingSpec);
  return spec === undefined ? undefined : { ...base, ...spec };
}

// === RbacConfig ===

const NO_TARGETS: RbacTargets = { services: [], namespaces: [] };

const targets: Decoder<RbacTargets> = record((fields) => ({
  services: fields.optional("services", locatedTexts) ?? [],
  namespaces: fields.optional("namespaces", locatedTexts) ?? [],
}));

type ConfigSpec = Omit<RbacConfig, keyof OldObject>;

const configSpec: Decoder<ConfigSpec> = record((fields) => ({
  mode: fields.optional("mode", oneOf(["OFF", "ON", "ON_WITH_INCLUSION", "ON_WITH_EXCLUSION"])) ?? "OFF",
  inclusion: fields.optional("inclusion", nullable(targets, NO_TARGETS)) ?? NO_TARGETS,
  exclusion: fields.optional("exclusion", nullable(targets, NO_TARGETS)) ?? NO_TARGETS,
  permissive: either(fields, "enforcementMode", modes) === "PERMISSIVE",
}));

export function decodeRbacConfig(root: Fields, base: OldObject): RbacConfig | undefined {
  const spec = root.required("spec", configSpec);
  if (spec === undefined) return undefined;
  if (base.meta.name === "default") return { ...base, ...spec };
  const message = `\`${base.meta.name}\` was never in force: only the one named \`default\` is`;
  base.report.add("GAR0007", root.cursor.node.place, message, "rename it, or remove it");
  return undefined;
}
