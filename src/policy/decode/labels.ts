/** Labels and the selectors over them. */
import type { Selector } from "../model.ts";
import { isDnsSubdomain } from "./kubernetes-name.ts";
import { LIMITS } from "./limits.ts";
import { textOf } from "./raw-node.ts";
import { type Decoder, type Fields, mapOf, record, stringUpTo, wrong } from "./reader.ts";
import { quote } from "./report.ts";

const NAME = /^[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const MAX_NAME = 63;
const HELP =
  "use at most 63 letters, digits, dashes, underscores and dots, with a letter or digit at both ends; wildcards are not possible";

function isName(text: string): boolean {
  return text.length <= MAX_NAME && NAME.test(text);
}

/** `NAME` or `PREFIX/NAME`, the prefix a DNS subdomain. */
function isLabelKey(text: string): boolean {
  const [first = "", second, ...rest] = text.split("/");
  if (second === undefined) return isName(first);
  return rest.length === 0 && isDnsSubdomain(first) && isName(second);
}

const labelKey: Decoder<string> = (cursor) => {
  const key = textOf(cursor.node) ?? "";
  return isLabelKey(key) ? key : wrong(cursor, "GAR0007", `is not a label: ${quote(key)}`, HELP);
};

const labelValue: Decoder<string> = (cursor) => {
  const value = stringUpTo(LIMITS.text)(cursor);
  if (value === undefined || value === "" || isName(value)) return value;
  return wrong(cursor, "GAR0007", `is not a label's value: ${quote(value)}`, HELP);
};

/** Labels of an object, or the labels that a selector asks for. */
export const labels: Decoder<ReadonlyMap<string, string>> = mapOf(labelKey, labelValue, { max: LIMITS.labels });

export const NO_LABELS: ReadonlyMap<string, string> = new Map();

/** `selector.matchLabels` (VA-2); `labelsField` is the name of the inner field. */
function selectorOf(labelsField: "matchLabels" | "labels"): Decoder<Selector> {
  return record((fields) => {
    const selector = fields.optional(labelsField, labels);
    if (fields.isEmpty || selector?.size === 0) {
      const { node, path, report } = fields.cursor;
      report.add(
        "GAR0011",
        node.place,
        `${quote(path)} names no label and so selects every workload in scope`,
        "remove it, or name a label",
      );
    }
    return selector ?? NO_LABELS;
  });
}

/** Of a policy (Istio `type.v1beta1.WorkloadSelector`). */
export const policySelector = selectorOf("matchLabels");

/** Of a Sidecar (Istio `networking.v1.WorkloadSelector`). */
export const sidecarSelector = selectorOf("labels");

/** A selector that could not be read selects everything in scope: nothing tells what it would have left out. */
export function selectorOrAll(fields: Fields): Selector {
  return fields.optional("selector", policySelector) ?? NO_LABELS;
}
