import { AppError } from "../core/error.ts";

declare const brand: unique symbol;

/** A SPIFFE trust domain name, already checked (SPIFFE-ID §2.1). */
export type TrustDomain = string & { readonly [brand]: "TrustDomain" };

/** SPIFFE-ID §2.1: at most 255 bytes. */
const MAX_LENGTH = 255;
const GRAMMAR = /^[a-z0-9._-]+$/;

/** Istio's default trust domain. */
export const DEFAULT_TRUST_DOMAIN = "cluster.local" as TrustDomain;

/** A trust domain name: lower-case letters, digits, dots, dashes and underscores. Throws `invalid-argument`. */
export function parseTrustDomain(text: string): TrustDomain {
  if (text.length === 0 || text.length > MAX_LENGTH || !GRAMMAR.test(text)) {
    throw new AppError("invalid-argument", `\`${text.slice(0, 300)}\` is not a trust domain`, {
      help: "use 1 to 255 lower-case letters, digits, dots, dashes and underscores, such as `cluster.local`",
    });
  }
  return text as TrustDomain;
}
