/** `--citadel`. */
import { AppError } from "../core/error.ts";
import { isDnsLabel } from "../policy/decode/kubernetes-name.ts";

/** Each is a watch. */
const MOST = 100;

function refuse(message: string, help: string): AppError {
  return new AppError("invalid-argument", message, { help });
}

/** The namespaces of Citadel mode as they were named, `*` for all. Throws `invalid-argument`. */
export function citadelNamespaces(given: readonly string[]): readonly string[] {
  const wrong = given.find((namespace) => namespace !== "*" && !isDnsLabel(namespace));
  if (wrong !== undefined) throw refuse(`\`--citadel\`: \`${wrong}\` is not a namespace`, "name one each time; `*` is every one");
  if (given.includes("*") && given.length > 1) throw refuse("`--citadel '*'` is every namespace", "leave the others out");
  if (given.length > MOST) throw refuse(`\`--citadel\` names more than ${MOST} namespaces`, "name `*`, which is every one");
  return [...new Set(given)];
}
