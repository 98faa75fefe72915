/** Rules for tokens that do not say whose. */
import type { Diagnostic } from "../../core/diagnostic.ts";
import type { RequestAuthenticationObject } from "../../policy/model.ts";

/** As in Istio, tokens of any issuer count that the keys vouch for: who says `iss: anybody` is then that requester. */
export function anyIssuer({ meta, jwtRules }: RequestAuthenticationObject): readonly Diagnostic[] {
  if (jwtRules === "invalid") return [];
  return jwtRules.flatMap(({ issuer }, index): Diagnostic[] => {
    if (issuer !== "") return [];
    const message = `\`jwtRules[${index}]\` of RequestAuthentication \`${meta.namespace}/${meta.name}\` names no \`issuer\`: whatever a token says of its issuer counts, if the rule's keys have signed it`;
    return [{ code: "GAR0223", message, place: meta.place, help: "write the issuer of its tokens, as their claim `iss` has it" }];
  });
}
