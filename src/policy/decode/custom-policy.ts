/** What an AuthorizationPolicy with action CUSTOM has and may not have (VA-3). */
import { attributeRow } from "../attributes.ts";
import type { Clause, Rule } from "../model.ts";
import { providerName } from "./extension-provider.ts";
import { childOf, textOf } from "./raw-node.ts";
import { type Cursor, type Fields, record, wrong } from "./reader.ts";

const provider = record((fields) => fields.required("name", providerName));

const PROVIDER_HELP = "name one of the mesh's `extensionProviders`: `provider: { name: … }`";

const ELSEWHERE = { provider: "only a policy with `action: CUSTOM` asks one: `provider: { name: … }`" };

/** The provider's name: CUSTOM needs it, and no other action has one. */
export function readProvider(fields: Fields): string | undefined {
  if (textOf(childOf(fields.cursor.node, "action")) === "CUSTOM") return fields.required("provider", provider, PROVIDER_HELP);
  fields.refuse(ELSEWHERE);
  return undefined;
}

/** Authorizers are asked before tokens are verified, and Istio asks them of no peer's identity. */
function isForbidden({ attribute }: Clause): boolean {
  const { needsMtls, source, when } = attributeRow(attribute);
  return needsMtls === true || source === "requestPrincipals" || when?.startsWith("request.auth.") === true;
}

function nameOf({ attribute }: Clause): string {
  const { source, when } = attributeRow(attribute);
  return source ?? when ?? attribute;
}

/** Refuses what no CUSTOM rule may ask; its rules would not mean the same in Istio. */
export function checkCustomRules(cursor: Cursor, rules: readonly Rule[]): void {
  for (const [index, rule] of rules.entries()) {
    const clause = [...rule.from, ...rule.to, rule.when].flat().find(isForbidden);
    if (clause === undefined) continue;
    const at: Cursor = {
      ...cursor,
      node: { ...cursor.node, place: rule.place ?? cursor.node.place },
      path: `${cursor.path}.rules[${index}]`,
    };
    const help = "select by addresses, ports or the request, and let the authorizer look at who asks: it is told the peer's identity";
    wrong(at, "GAR0004", `asks for \`${nameOf(clause)}\`, which is not supported with action CUSTOM`, help);
  }
}
