import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decodeObject } from "../policy/decode/decode.ts";
import { parseIpBlock } from "../policy/ip-block.ts";
import { parseYamlDocuments } from "../sources/yaml-documents.ts";
import { refusedSources } from "./refused-sources.ts";

function told(url: string, allowed: readonly string[] = []): readonly string[] {
  const text = `apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: { name: tokens, namespace: shop }\nspec: { jwtRules: [{ issuer: a, jwks: '{"keys":[{"kid":"a","kty":"EC","crv":"P-256","x":"bB_nmyl_8jT56-EDmAn22DJGjh6xpxkrWZvczSBySCg","y":"yT7b0DuWV74RAuH5Erqhp2V_mWim6iaRXCgrOQHac-c"}]}' }, { issuer: b, jwksUri: "${url}" }] }\n`;
  const { documents } = parseYamlDocuments(text, "a.yaml");
  const { object } = decodeObject(documents[0] ?? assert.fail("no document"));
  return refusedSources([object ?? assert.fail("it is not valid")], allowed.map(parseIpBlock)).map(({ message }) => message);
}

const WHAT = "the keys of `jwtRules[1]` of RequestAuthentication `shop/tokens` are not fetched:";

describe("keys at an address that the control plane does not ask", () => {
  for (const [url, why] of [
    ["https://10.1.2.3/keys", "the address `10.1.2.3` is not on the public internet"],
    ["https://[fd00::1]/keys", "the address `fd00::1` is not on the public internet"],
    ["http://1.1.1.1/keys", "the address `1.1.1.1` may be asked by HTTPS only"],
    ["http://issuer.example.org/keys", "the name `issuer.example.org` may be asked by HTTPS only"],
    ["https://keycloak/keys", "the name `keycloak` is not of the public internet"],
    ["https://keycloak.auth.svc/keys", "the name `keycloak.auth.svc` is not of the public internet"],
    ["https://keycloak.auth.svc.cluster.local/keys", "the name `keycloak.auth.svc.cluster.local` is not of the public internet"],
  ] as const)
    it(`are told of: ${url}`, () => assert.deepEqual(told(url), [`${WHAT} ${why}`]));

  for (const [url, allowed] of [
    ["https://1.1.1.1/keys", []],
    ["https://issuer.example.org/keys", []],
    ["http://10.1.2.3/keys", ["10.1.2.0/24"]],
    ["http://keycloak.auth.svc.cluster.local/keys", ["10.1.2.0/24"]],
  ] as const)
    it(`are not told of where they may be: ${url} with ${allowed}`, () => assert.deepEqual(told(url, allowed), []));
});
