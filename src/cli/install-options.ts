/** What `garrison install` and `garrison uninstall` share. */
import { AppError } from "../core/error.ts";
import { isDnsLabel } from "../policy/decode/kubernetes-name.ts";
import type { OptionSpecs, ParsedArguments } from "./command.ts";

export const KUBECONFIG_OPTION = {
  type: "value",
  value: "FILE",
  doc: "the kubeconfig of the cluster; without it KUBECONFIG, ~/.kube/config or the pod's own account",
} as const satisfies OptionSpecs[string];

export const NAMESPACE_OPTION = {
  type: "value",
  value: "NAME",
  doc: "the namespace of the control plane",
  default: "garrison-system",
} as const satisfies OptionSpecs[string];

/** Throws `invalid-argument`. */
export function checkedNamespace(namespace: string): string {
  if (isDnsLabel(namespace)) return namespace;
  throw new AppError("invalid-argument", `\`${namespace}\` is not the name of a namespace`, {
    help: "names are of lower-case letters, digits and `-`",
  });
}

/** `--namespace`. Throws `invalid-argument`. */
export function namespaceOf(parsed: ParsedArguments): string {
  return checkedNamespace(parsed.value("namespace") ?? "");
}

/** The value of an option that is one of a few; undefined where it was not given. Throws `invalid-argument`. */
export function choice<T extends string>(parsed: ParsedArguments, option: string, choices: readonly T[]): T | undefined {
  const value = parsed.value(option);
  if (value === undefined) return undefined;
  const found = choices.find((each) => each === value);
  if (found !== undefined) return found;
  throw new AppError("invalid-argument", `\`--${option} ${value}\` is not known`, { help: `it is one of ${choices.join(", ")}` });
}
