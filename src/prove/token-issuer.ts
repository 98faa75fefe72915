/** Stands for every issuer of tokens: nobody has the private halves of the keys that policies name, so one more is put beside them. */
import { generateKeyPairSync, sign } from "node:crypto";
import type { CompiledJwtRule } from "../compile/workload-policy.ts";
import { readJwks } from "../policy/jwks.ts";

const KID = "garrison-proof";

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

export class ProvingTokenIssuer {
  readonly #pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
  readonly #keys = readJwks(JSON.stringify({ keys: [{ ...this.#pair.publicKey.export({ format: "jwk" }), kid: KID }] })).keys;

  /** A token with these claims, signed (ES256). */
  token(claims: Readonly<Record<string, unknown>>): string {
    const signed = `${encode({ alg: "ES256", kid: KID })}.${encode(claims)}`;
    return `${signed}.${sign("sha256", Buffer.from(signed), { key: this.#pair.privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
  }

  /** The rule with this key beside its own; one without any keeps having none. */
  admittedBy(rule: CompiledJwtRule): CompiledJwtRule {
    return rule.keys.length === 0 && rule.keysUnknown !== true ? rule : { ...rule, keys: [...rule.keys, ...this.#keys] };
  }
}
