import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decodeBytes } from "./file-reader.ts";
import { applyLastGood } from "./last-good.ts";

const SECURITY = "apiVersion: security.istio.io/v1\n";

/** What is said to hold in the place of an invalid object that was never valid. */
function instead(text: string): string {
  const { statuses, diagnostics } = applyLastGood({ files: [decodeBytes("a.yaml", Buffer.from(text))] });
  assert.equal(statuses.length, 1);
  assert.ok(diagnostics.length > 0 && diagnostics.every(({ help = "" }) => help.includes("; until then ")), JSON.stringify(diagnostics));
  return diagnostics[0]?.help?.split("; until then ").at(-1) ?? "";
}

const policy = (action: string, annotations = "{}") =>
  `${SECURITY}kind: AuthorizationPolicy\nmetadata: { name: a, annotations: ${annotations} }\nspec: { action: ${action}, rules: [{ tp: [] }] }\n`;

describe("what holds in the place of an invalid object is said as it is", () => {
  for (const [text, words] of [
    [policy("ALLOW"), "it is closed: it allows nothing, and what no other policy allows is denied"],
    [policy("DENY"), "it is closed: it denies everything that it selects"],
    [policy("AUDIT"), "it is closed: it takes note of everything that it selects"],
    [policy("CUSTOM, provider: { name: opa }"), "it is closed: it denies everything that it selects"],
    [
      policy("DENY", '{ istio.io/dry-run: "true" }'),
      "it is closed: it denies everything that it selects, in the record alone, as a dry run",
    ],
    [`${SECURITY}kind: PeerAuthentication\nmetadata: { name: a }\nspec: { mtls: { mode: STRIKT } }\n`, "it is closed: its mode is STRICT"],
    [
      `${SECURITY}kind: RequestAuthentication\nmetadata: { name: a }\nspec: { jwtRules: [{ isuer: a }] }\n`,
      "it is closed: every request that it selects gets 401",
    ],
    [
      "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: a }\nspec: { host: a, trafficPolicy: { tls: { mode: NO } } }\n",
      "it is closed: nothing is sent to its host",
    ],
    [
      'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: istio, namespace: istio-system }\ndata: { mesh: "trustDomian: x" }\n',
      "the mesh has no configuration: a control plane does not start, and one that runs goes on without",
    ],
    ["apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: a }\ntokens: []\n", "the object does not exist"],
  ] as const)
    it(`${/kind: (\w+)/.exec(text)?.[1]}: ${words}`, () => assert.equal(instead(text), words));
});
