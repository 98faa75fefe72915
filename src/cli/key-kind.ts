/** The kind of a workload's keys: by option, or by the environment of Istio's agent. */
import { AppError } from "../core/error.ts";
import { CA_KEY_SPECS, type KeySpec, LEAF_KEY_SPECS, parseKeySpec } from "../x509/key-spec.ts";
import type { OptionSpec, ParsedArguments } from "./command.ts";

export const KEY_KIND_OPTION = {
  type: "value",
  value: "KIND",
  doc: `the keys of workloads' certificates: ${LEAF_KEY_SPECS.join(", ")}; without, P-256, or what ECC_SIGNATURE_ALGORITHM (with ECC_CURVE) and WORKLOAD_RSA_KEY_SIZE say, as Istio's agent takes them`,
} as const satisfies OptionSpec;

export const CA_KEY_KIND_OPTION = {
  type: "value",
  value: "KIND",
  doc: `the keys of authorities that are made at the first start or prepared from now on: ${CA_KEY_SPECS.join(", ")}; P-256 without`,
} as const satisfies OptionSpec;

type Environment = Readonly<Record<string, string | undefined>>;

const CURVES: ReadonlyMap<string, KeySpec> = new Map([
  ["", "P-256"],
  ["P256", "P-256"],
  ["P384", "P-384"],
]);

/**
 * What the variables of Istio's agent say (pilot-agent): ECDSA where it is named, by the curve that is named then, otherwise RSA of the size that is named; undefined
 * where they say nothing, as a curve alone does. Istio's own default, RSA of 2048 bits, is not ours. Throws `invalid-argument` for what has no equal here.
 */
export function keySpecOfEnvironment(env: Environment): KeySpec | undefined {
  const { ECC_SIGNATURE_ALGORITHM: algorithm = "", ECC_CURVE: curve = "", WORKLOAD_RSA_KEY_SIZE: size = "" } = env;
  if (algorithm !== "" && algorithm !== "ECDSA")
    throw new AppError("invalid-argument", `\`ECC_SIGNATURE_ALGORITHM=${algorithm.slice(0, 100)}\` is not known`, { help: "it is ECDSA" });
  if (algorithm === "") return size === "" ? undefined : parseKeySpec("`WORKLOAD_RSA_KEY_SIZE`", `RSA-${size}`, LEAF_KEY_SPECS);
  const spec = CURVES.get(curve);
  if (spec !== undefined) return spec;
  throw new AppError("invalid-argument", `\`ECC_CURVE=${curve.slice(0, 100)}\` is not known`, { help: "it is P256 or P384" });
}

/** The option, or else the environment. Throws `invalid-argument`. */
export function keyKindOf(parsed: ParsedArguments, env: Environment = process.env): { readonly keySpec?: KeySpec } {
  const given = parsed.value("key-kind");
  const keySpec = given === undefined ? keySpecOfEnvironment(env) : parseKeySpec("`--key-kind`", given, LEAF_KEY_SPECS);
  return keySpec === undefined ? {} : { keySpec };
}

/** `--ca-key-kind`. Throws `invalid-argument`. */
export function caKeyKindOf(parsed: ParsedArguments): { readonly keySpec?: KeySpec } {
  const given = parsed.value("ca-key-kind");
  return given === undefined ? {} : { keySpec: parseKeySpec("`--ca-key-kind`", given, CA_KEY_SPECS) };
}

/** What a control plane and agents that are started together are told. Throws `invalid-argument`. */
export function keyKindsOf(parsed: ParsedArguments): { readonly caKeyKind?: KeySpec; readonly keyKind?: KeySpec } {
  const [ca, leaf] = [caKeyKindOf(parsed).keySpec, keyKindOf(parsed).keySpec];
  return { ...(ca === undefined ? {} : { caKeyKind: ca }), ...(leaf === undefined ? {} : { keyKind: leaf }) };
}
