/** Who a request's token says that its sender is (the requester), and how policies ask about it. */
import { parseStringMatch, type StringMatch } from "./pattern.ts";

/** The verified token's payload, after `spaceDelimitedClaims` were split. */
export interface Requester {
  readonly claims: Readonly<Record<string, unknown>>;
}

/** Claims that are split at spaces in every token (JW-4; RFC 8693 §4.2 for `scope`). */
export const SPACE_DELIMITED_CLAIMS = ["permission", "scope"] as const;

/** `ISSUER/SUBJECT`, as two conditions that must both hold. */
export interface RequestPrincipalMatch {
  readonly issuer: StringMatch;
  readonly subject: StringMatch;
}

const PRESENT: StringMatch = { kind: "present" };

function exact(value: string): StringMatch {
  return { kind: "exact", value };
}

/**
 * A value of `requestPrincipals`, split at its last slash since an issuer is often a URL (JW-7, AZ-6). A wildcard at an end
 * belongs to the half at that end; without a slash the other half is anything.
 */
export function splitRequestPrincipal(match: StringMatch): RequestPrincipalMatch {
  if (match.kind === "present") return { issuer: PRESENT, subject: PRESENT };
  const slash = match.value.lastIndexOf("/");
  const [before, after] = slash < 0 ? [undefined, match.value] : [match.value.slice(0, slash), match.value.slice(slash + 1)];
  switch (match.kind) {
    case "exact":
      return before === undefined ? { issuer: exact(after), subject: exact("") } : { issuer: exact(before), subject: exact(after) };
    case "prefix":
      return before === undefined ? { issuer: match, subject: PRESENT } : { issuer: exact(before), subject: parseStringMatch(`${after}*`) };
    case "suffix":
      return before === undefined ? { issuer: PRESENT, subject: match } : { issuer: parseStringMatch(`*${before}`), subject: exact(after) };
  }
}

/** The argument of `request.auth.claims[a][b]`, `a][b`, as a path into the payload. */
export function claimPath(argument: string): readonly string[] {
  return argument.split("][");
}

/** A claim by its path; undefined where there is none. */
export function claimAt({ claims }: Requester, path: readonly string[]): unknown {
  let value: unknown = claims;
  for (const name of path) {
    if (typeof value !== "object" || value === null || Array.isArray(value) || !Object.hasOwn(value, name)) return undefined;
    value = (value as Readonly<Record<string, unknown>>)[name];
  }
  return value;
}

/** The texts that a clause may match: a text itself, or the texts of a list. Numbers and others match nothing (JW-7). */
export function textsOf(claim: unknown): readonly string[] {
  return (Array.isArray(claim) ? claim : [claim]).filter((item): item is string => typeof item === "string");
}
