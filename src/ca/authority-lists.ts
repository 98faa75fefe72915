/** What a CA says of the certificates that it has revoked: signed lists, for verifiers outside and for proxies. */
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { AnyIssuer } from "../x509/issuer.ts";
import { parseRevocationLists } from "../x509/revocation-list.ts";
import type { Certification } from "./ca-source.ts";
import type { Ledger } from "./ledger.ts";
import { type AuthorityList, RevocationListSigner } from "./revocation-list.ts";
import type { Revocations } from "./revocations.ts";

export interface AuthorityListsOptions {
  readonly revocations: Revocations;
  readonly ledger: Pick<Ledger, "authoritiesInUse" | "unexpired">;
  /** Who signs at this moment. */
  readonly signing: () => Pick<Certification, "issuer" | "others">;
  /** The keys of former issuers are not here any more. */
  readonly replaced: boolean;
  readonly clock: Clock;
}

/** Lists by which clients refuse servers. */
export interface PushedLists {
  /** PEM. */
  readonly pem: string;
  /** What is revoked and not in them; empty where nothing is missing. */
  readonly problem: string;
}

const textOf = (lists: readonly AuthorityList[]) => lists.map(({ pem }) => pem).join("");
/** Serial numbers that a message names. */
const MOST_NAMED = 3;

export class AuthorityLists {
  readonly #options: AuthorityListsOptions;
  readonly #signer: RevocationListSigner;

  constructor(options: AuthorityListsOptions) {
    this.#options = options;
    this.#signer = new RevocationListSigner(options.revocations, options.clock);
  }

  /** One of each authority, the one that signs first. Rejects with `invalid-argument` where its certificate may not sign one, or another CA signs. */
  async served(): Promise<readonly AuthorityList[]> {
    return Promise.all(this.#issuers().map((issuer) => this.#signer.list(issuer)));
  }

  /**
   * The lists by which a client may refuse this CA's servers: one of every authority that has issued what has not expired, since TLS libraries refuse whoever's issuer has none. Of an
   * issuer whose key is gone, the last one that it signed. Rejects as `served`, and with `unavailable` where there cannot be one of each.
   */
  async pushed(): Promise<PushedLists> {
    const { replaced, revocations, clock } = this.#options;
    const now = clock.now();
    const issuers = this.#issuers().filter(({ certificate }) => now < certificate.notAfter);
    const own = await Promise.all(
      issuers.map(async (issuer) => ({
        authority: issuer.keyId,
        pem: await this.#signer.pushed(issuer),
        notAfter: issuer.certificate.notAfter,
      })),
    );
    if (!replaced) return { pem: textOf(own), problem: "" };
    for (const list of own) revocations.keepList(list);
    const ids = new Set(own.map(({ authority }) => authority));
    const former = revocations.keptLists(now).filter(({ authority }) => !ids.has(authority));
    const inUse = new Set(this.#options.ledger.authoritiesInUse(now));
    const unlisted = inUse.difference(ids).difference(new Set(former.map(({ authority }) => authority)));
    if (unlisted.size === 0) return { pem: textOf([...own, ...former]), problem: this.#missingOf(former, inUse, now) };
    // Its servers would be refused, all of them.
    const [name] = unlisted;
    throw new AppError(
      "unavailable",
      `certificates of the former issuer ${name || "(unknown)"} have not expired, and there is no list of it`,
    );
  }

  #issuers(): readonly AnyIssuer[] {
    const { issuer, others = [] } = this.#options.signing();
    if (issuer !== undefined) return [issuer, ...others];
    throw new AppError("invalid-argument", "another CA signs the certificates, and it alone can sign a list of those that are revoked");
  }

  /** What a former issuer could not list any more. */
  #missingOf(former: readonly AuthorityList[], inUse: ReadonlySet<string>, now: number): string {
    const { ledger, revocations } = this.#options;
    const missing = former.flatMap(({ authority, pem }) => {
      if (!inUse.has(authority)) return [];
      const known = new Set(parseRevocationLists(pem).flatMap(({ serials }) => [...serials]));
      return ledger.unexpired({ authority }, now).filter(({ serial }) => revocations.isRevoked(serial) && !known.has(serial));
    });
    if (missing.length === 0) return "";
    const named = missing.slice(0, MOST_NAMED).map(({ serial }) => serial);
    return `the issuer of ${named.join(", ")}${missing.length > MOST_NAMED ? " and others" : ""} was replaced before it could list them`;
  }
}
