/** The service account of a bound token of a Kubernetes cluster. */
import { AppError } from "../../core/error.ts";
import { isDnsLabel, isDnsSubdomain } from "../../policy/decode/kubernetes-name.ts";
import type { Account, Claims } from "./account-mapping.ts";

function refuse(): AppError {
  return new AppError("unauthenticated", "the token was refused: it is of no service account that counts here");
}

function inner(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name) ? (value as Claims)[name] : undefined;
}

/** What `sub` and the claim `kubernetes.io` both say. Throws `unauthenticated`, also for a namespace that is not among `namespaces`. */
export function kubernetesAccount(claims: Claims, namespaces: ReadonlySet<string> | undefined): Account {
  const [system, kind, namespace = "", name = "", ...rest] = typeof claims.sub === "string" ? claims.sub.split(":") : [];
  const isAccount = system === "system" && kind === "serviceaccount" && rest.length === 0 && isDnsLabel(namespace) && isDnsSubdomain(name);
  const bound = claims["kubernetes.io"];
  const agrees = inner(bound, "namespace") === namespace && inner(inner(bound, "serviceaccount"), "name") === name;
  if (isAccount && agrees && (namespaces?.has(namespace) ?? true)) return { namespace, name };
  throw refuse();
}
