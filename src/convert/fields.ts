/** Readers that the old kinds share. */
import { LIMITS } from "../policy/decode/limits.ts";
import { type Decoder, type Fields, list, text, wrong } from "../policy/decode/reader.ts";
import type { Located } from "./old-objects.ts";

/** A field by its name in JSON or in the proto (`jwksUri`, `jwks_uri`): Istio took both. */
export function either<T>(fields: Fields, name: string, decoder: Decoder<T>): T | undefined {
  const proto = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  if (proto === name) return fields.optional(name, decoder);
  const [first, second] = [fields.optional(name, decoder), fields.optional(proto, decoder)];
  if (fields.has(name) && fields.has(proto)) {
    return wrong(fields.cursor, "GAR0007", `has both \`${name}\` and \`${proto}\`, which are one field`, "remove one of them");
  }
  return first ?? second;
}

export function located<T>(decoder: Decoder<T>): Decoder<Located<T>> {
  return (cursor) => {
    const value = decoder(cursor);
    return value === undefined ? undefined : { value, place: cursor.node.place };
  };
}

export const texts = list(text, { max: LIMITS.values });
export const locatedTexts = list(located(text), { max: LIMITS.values });
