/** The service accounts of node proxies, from the command line and, as istiod takes them, from the environment. */
import { AppError } from "../core/error.ts";
import { parseServiceAccount } from "../identity/spiffe-id.ts";

/** Istio's, by commas. */
const VARIABLE = "CA_TRUSTED_NODE_ACCOUNTS";

/** `NAMESPACE/SERVICE-ACCOUNT` of each. Throws `invalid-argument` for what is none, and for any without a cluster, which says where pods are. */
export function trustedNodeAccounts(given: readonly string[], isCluster: boolean, environment = process.env): readonly string[] {
  const named = (environment[VARIABLE] ?? "").split(",").flatMap((text) => (text.trim() === "" ? [] : [text.trim()]));
  const [first] = [...given.map(() => "--trusted-node-account"), ...named.map(() => VARIABLE)];
  if (first !== undefined && !isCluster)
    throw new AppError("invalid-argument", `\`${first}\` is for a control plane on Kubernetes`, {
      help: "add `--kubernetes`, or leave it out: elsewhere nobody says on which node a workload runs",
    });
  return [...given, ...named].map((text) => {
    const { namespace, name } = parseServiceAccount(text);
    return `${namespace}/${name}`;
  });
}
