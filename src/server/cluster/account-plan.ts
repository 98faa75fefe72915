/** What is to be done so that each service account has its Secret, by what the API server has. */
import { setImmediate } from "node:timers/promises";
import type { Authority } from "../../ca/authority.ts";
import { AppError } from "../../core/error.ts";
import { formatSpiffeId, type SpiffeId } from "../../identity/spiffe-id.ts";
import type { ApiObject } from "../../sources/kubernetes/api-objects.ts";
import type { Account } from "../../sources/kubernetes/found-objects.ts";
import type { Certificate } from "../../x509/certificate.ts";
import { fileOf, isOurs, renewalTime, secretNameOf, usableLeaf, whyReplace } from "./account-secret.ts";

/** In the order in which they are urgent. */
const KINDS = ["remove", "create", "mend", "roots", "renew", "foreign"] as const;

export interface Step {
  readonly kind: (typeof KINDS)[number];
  /** `NAMESPACE/NAME` of the Secret. */
  readonly key: string;
  /** The Secret that was looked at; undefined where there is none. */
  readonly secret: ApiObject | undefined;
  /** Undefined where it is gone. */
  readonly account: Account | undefined;
  readonly why: string;
}

export interface PlanInput {
  readonly accounts: readonly Account[];
  /** By `NAMESPACE/NAME`. */
  readonly secrets: ReadonlyMap<string, ApiObject>;
  /** Milliseconds. */
  readonly now: number;
}

/** What was found out about one version of a Secret, under these roots. */
interface Examined {
  readonly roots: string;
  readonly leaf?: Certificate;
  readonly flaw?: string;
}

type Judgement = Pick<Step, "kind" | "why"> | undefined;

/** Secrets that are examined before others of the process have their turn: each costs some signatures. */
const AT_ONCE = 10;

export class AccountPlanner {
  readonly #authority: Pick<Authority, "trust" | "trustDomain" | "rootsPem" | "isReplaced">;
  readonly #examined = new WeakMap<ApiObject, Examined>();

  constructor(authority: Pick<Authority, "trust" | "trustDomain" | "rootsPem" | "isReplaced">) {
    this.#authority = authority;
  }

  identityOf({ namespace, name }: Account): SpiffeId {
    return { trustDomain: this.#authority.trustDomain, namespace, serviceAccount: name };
  }

  /** The most urgent first. */
  async plan({ accounts, secrets, now }: PlanInput): Promise<readonly Step[]> {
    const steps: Step[] = [];
    const wanted = new Set<string>();
    let looked = 0;
    for (const account of accounts) {
      const key = `${account.namespace}/${secretNameOf(account)}`;
      wanted.add(key);
      const secret = secrets.get(key);
      if (secret !== undefined && this.#known(secret) === undefined && ++looked % AT_ONCE === 0) await setImmediate();
      const judgement = secret === undefined ? ({ kind: "create", why: "there is none" } as const) : this.#judge(secret, account, now);
      if (judgement !== undefined) steps.push({ ...judgement, key, secret, account });
    }
    for (const [key, secret] of secrets) {
      if (wanted.has(key) || !isOurs(secret)) continue;
      steps.push({ kind: "remove", why: "the service account is gone", key, secret, account: undefined });
    }
    return steps.sort((left, right) => KINDS.indexOf(left.kind) - KINDS.indexOf(right.kind));
  }

  #judge(secret: ApiObject, account: Account, now: number): Judgement {
    if (!isOurs(secret)) return { kind: "foreign", why: "a Secret of this name and type was not made here: it is left alone" };
    const replace = whyReplace(secret, account);
    if (replace !== undefined) return { kind: "remove", why: replace };
    const { flaw, leaf } = this.#examine(secret, account, now);
    if (leaf === undefined) return { kind: "mend", why: flaw ?? "" };
    const { trust, rootsPem } = this.#authority;
    if (trust.isRevoked(leaf.serial)) return { kind: "mend", why: "its certificate is revoked" };
    if (leaf.authorityKeyId !== undefined && this.#authority.isReplaced(leaf.authorityKeyId))
      return { kind: "renew", why: "its authority is being replaced" };
    if (now >= renewalTime(leaf)) return { kind: "renew", why: "its certificate is to be renewed" };
    return fileOf(secret, "root-cert.pem") === rootsPem ? undefined : { kind: "roots", why: "its roots are not those of now" };
  }

  #known(secret: ApiObject): Examined | undefined {
    const known = this.#examined.get(secret);
    return known?.roots === this.#authority.rootsPem ? known : undefined;
  }

  /** Once for each version of a Secret, and again under other roots. */
  #examine(secret: ApiObject, account: Account, now: number): Examined {
    const { rootsPem: roots, trust } = this.#authority;
    const known = this.#known(secret);
    if (known !== undefined) return known;
    const examined: Examined = { roots, ...this.#lookAt(secret, account, trust.roots, now) };
    this.#examined.set(secret, examined);
    return examined;
  }

  #lookAt(secret: ApiObject, account: Account, roots: readonly Certificate[], now: number): Omit<Examined, "roots"> {
    try {
      return { leaf: usableLeaf(secret, formatSpiffeId(this.identityOf(account)), roots, now) };
    } catch (thrown) {
      return { flaw: AppError.from(thrown).message };
    }
  }
}
