/** Whether somebody injects the pods of namespaces that ask for it by a revision. */
import { collectionUrl, WEBHOOK_KINDS } from "../kinds.ts";
import { list, plain, text } from "../plain.ts";
import type { JsonObject } from "../template.ts";
import { type Check, items, OK, some, warning } from "./check.ts";

const REVISION = "istio.io/rev";
const INJECTION = "istio-injection";

/** The values that a webhook's selector wants of a label. */
function wantedOf(selector: JsonObject, label: string): readonly string[] {
  const same = text(plain(selector.matchLabels)[label]);
  const among = list(selector.matchExpressions).filter(({ key, operator }) => key === label && operator === "In");
  return [...(same === "" ? [] : [same]), ...among.flatMap(({ values }) => (Array.isArray(values) ? values.map(text) : []))];
}

/** What the namespace asks for: as in Istio, `istio-injection` goes before `istio.io/rev`. */
function asksFor(namespace: JsonObject): readonly [label: string, value: string] | undefined {
  const labels = plain(plain(namespace.metadata).labels);
  const [injection, revision] = [text(labels[INJECTION]), text(labels[REVISION])];
  if (injection !== "") return injection === "enabled" ? [INJECTION, injection] : undefined;
  return revision === "" ? undefined : [REVISION, revision];
}

/** Any webhook counts, ours or of another mesh. */
export const REVISIONS: Check = {
  id: "revisions",
  title: "somebody injects the pods of every namespace that asks for it",
  run: async ({ api }) => {
    const configurations = await items(api, collectionUrl(WEBHOOK_KINDS[1]));
    const selectors = configurations.flatMap(({ webhooks }) => list(webhooks).map(({ namespaceSelector }) => plain(namespaceSelector)));
    const isServed = ([label, value]: readonly [string, string]): boolean =>
      selectors.some((selector) => wantedOf(selector, label).includes(value));
    const left = (await items(api, "/api/v1/namespaces")).flatMap((namespace) => {
      const asked = asksFor(namespace);
      return asked === undefined || isServed(asked) ? [] : [`${text(plain(namespace.metadata).name)} (\`${asked.join(": ")}\`)`];
    });
    if (left.length === 0) return OK;
    return warning(
      `nobody injects the pods of ${some(left)}`,
      "label the namespace `istio-injection: enabled`, or install with its revision as the value `revision`",
    );
  },
};
