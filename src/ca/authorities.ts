/** The authorities of a CA that Garrison makes: several while one takes over from another (the model is SPIRE's local authority). */
import type { KeyObject } from "node:crypto";
import { AppError } from "../core/error.ts";
import type { Certificate } from "../x509/certificate.ts";

/**
 * `prepared`: its root is trusted, it signs nothing. `active`: it signs. `old`: it signed before. `tainted`: what it signed is being
 * replaced. Its root is trusted in every state; once revoked, it is gone.
 */
export type AuthorityState = "prepared" | "active" | "old" | "tainted";

export interface OwnAuthority {
  /** The identifier of its key, in hex. */
  readonly id: string;
  readonly certificate: Certificate;
  readonly key: KeyObject;
  /** In the folder of the CA. */
  readonly keyFile: string;
  readonly state: AuthorityState;
  /** When it came into this state, in milliseconds. */
  readonly since: number;
}

/** Of the roots that everybody carries. */
const MAX_AUTHORITIES = 8;

function refuse(message: string, help?: string): AppError {
  return new AppError("invalid-argument", message, help === undefined ? {} : { help });
}

const SEE = "`garrison ca authorities` shows those that there are";

const REPLACE_FIRST = "another must sign first: `garrison ca prepare`, and then `garrison ca activate`";

/** The authority that an operator means: by the beginning of its identifier, or the only one of these states. Throws `not-found` and `invalid-argument`. */
export function findAuthority(authorities: readonly OwnAuthority[], id: string, states: readonly AuthorityState[]): OwnAuthority {
  const candidates = authorities.filter((each) => (id === "" ? states.includes(each.state) : each.id.startsWith(id.toLowerCase())));
  const [found, ...others] = candidates;
  const wanted = states.join(" or ");
  if (found === undefined)
    throw new AppError("not-found", id === "" ? `there is no authority that is ${wanted}` : `there is no authority \`${id}\``, {
      help: SEE,
    });
  if (others.length > 0)
    throw refuse(id === "" ? `${candidates.length} authorities are ${wanted}: name one` : `\`${id}\` names several authorities`, SEE);
  if (states.includes(found.state)) return found;
  throw refuse(`the authority ${found.id} is ${found.state}, and not ${wanted}`, found.state === "active" ? REPLACE_FIRST : SEE);
}

function become(authority: OwnAuthority, state: AuthorityState, now: number): OwnAuthority {
  return { ...authority, state, since: now };
}

/** With another one, prepared. Throws `already-exists` while one waits to be activated, `resource-exhausted` for too many. */
export function withPrepared(authorities: readonly OwnAuthority[], added: OwnAuthority): readonly OwnAuthority[] {
  checkPrepare(authorities);
  return [...authorities, added];
}

/** Throws as `withPrepared` does. */
export function checkPrepare(authorities: readonly OwnAuthority[]): void {
  const waiting = authorities.find(({ state }) => state === "prepared");
  if (waiting !== undefined)
    throw new AppError("already-exists", `the authority ${waiting.id} is prepared already`, {
      help: "activate it, or take it away with `garrison ca revoke --authority`",
    });
  if (authorities.length >= MAX_AUTHORITIES)
    throw new AppError("resource-exhausted", `there are ${MAX_AUTHORITIES} authorities`, {
      help: "revoke those that nobody needs any more",
    });
}

/** With `id` signing in the place of the one that did. */
export function withActivated(authorities: readonly OwnAuthority[], id: string, now: number): readonly OwnAuthority[] {
  return authorities.map((each) => {
    if (each.id === id) return become(each, "active", now);
    return each.state === "active" ? become(each, "old", now) : each;
  });
}

export function withTainted(authorities: readonly OwnAuthority[], id: string, now: number): readonly OwnAuthority[] {
  return authorities.map((each) => (each.id === id ? become(each, "tainted", now) : each));
}

export function withoutAuthority(authorities: readonly OwnAuthority[], id: string): readonly OwnAuthority[] {
  return authorities.filter((each) => each.id !== id);
}
