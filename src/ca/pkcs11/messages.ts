/** What the authority and the thread that holds the token say to each other. */
import { AppError, type ErrorCode } from "../../core/error.ts";

/** The kinds of keys that can be made in a token. */
export type TokenKeyKind = "P-256" | "P-384" | "RSA";

export type TokenRequest =
  /** The public key; with `make`, a new one where there is none. */
  | { readonly kind: "open"; readonly make: TokenKeyKind | undefined }
  /** The signature of `body`, by the key whose SubjectPublicKeyInfo this is and no other. */
  | { readonly kind: "sign"; readonly body: Uint8Array; readonly spki: Uint8Array }
  /** Whether that key can be used. */
  | { readonly kind: "probe"; readonly spki: Uint8Array };

export interface OpenedKey {
  /** SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** Whether it was made now. */
  readonly made: boolean;
  /** Whether the token would give it away. */
  readonly extractable: boolean;
}

export type TokenResult =
  | { readonly kind: "opened"; readonly key: OpenedKey }
  | { readonly kind: "signed"; readonly signature: Uint8Array }
  | { readonly kind: "usable" }
  | { readonly kind: "failed"; readonly error: PlainError };

/** An AppError as it crosses between threads. */
export interface PlainError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly help: string | undefined;
  readonly where: string | undefined;
}

export function plainError({ code, message, help, where }: AppError): PlainError {
  return { code, message, help, where };
}

export function errorOf({ code, message, help, where }: PlainError): AppError {
  return new AppError(code, message, { ...(help === undefined ? {} : { help }), ...(where === undefined ? {} : { where }) });
}
