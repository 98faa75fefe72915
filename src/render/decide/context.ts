/** The facts of one decision, with what is derived from them worked out at most once and only when a rule asks. */
import { parseSpiffeId, type SpiffeId } from "../../identity/spiffe-id.ts";
import type { Facts } from "../../policy/decision.ts";
import { type IpAddress, parseIpAddress } from "../../policy/ip-block.ts";
import { foldCase } from "./matchers.ts";

const SCHEME = "spiffe://";
/** Of a principal. */
const DOMAIN = /^([a-z0-9._-]+)\//;

/** Identities that were looked at already: a few peers send all the requests. When there are more, each is looked at anew. */
const identities = new Map<string, SpiffeId | undefined>();
const MAX_IDENTITIES = 4096;

function parseIdentity(peer: string): SpiffeId | undefined {
  try {
    return parseSpiffeId(peer);
  } catch {
    return undefined;
  }
}

function workloadIdentity(peer: string | undefined): SpiffeId | undefined {
  if (peer === undefined) return undefined;
  if (identities.has(peer)) return identities.get(peer);
  if (identities.size >= MAX_IDENTITIES) identities.clear();
  const identity = parseIdentity(peer);
  identities.set(peer, identity);
  return identity;
}

/** `undefined` of a fact means "there is none", so no positive clause matches it; `null` in here means "not asked yet". */
export class DecisionContext {
  readonly facts: Facts;
  #principal: string | undefined | null = null;
  #identity: SpiffeId | undefined | null = null;
  #sourceIp: IpAddress | undefined | null = null;
  #remoteIp: IpAddress | undefined | null = null;
  #destinationIp: IpAddress | undefined | null = null;
  #host: string | undefined | null = null;
  #sni: string | null = null;

  constructor(facts: Facts) {
    this.facts = facts;
  }

  /** The peer without `spiffe://`; undefined for plaintext. */
  get principal(): string | undefined {
    if (this.#principal === null) {
      const { peer } = this.facts;
      this.#principal = peer?.startsWith(SCHEME) === true ? peer.slice(SCHEME.length) : undefined;
    }
    return this.#principal;
  }

  /** The peer's trust domain, whatever the form of its name there; undefined for plaintext. */
  get trustDomain(): string | undefined {
    return DOMAIN.exec(this.principal ?? "")?.[1];
  }

  /** The peer as a workload identity; undefined for plaintext, and for a SPIFFE ID of another form. */
  get identity(): SpiffeId | undefined {
    if (this.#identity === null) this.#identity = workloadIdentity(this.facts.peer);
    return this.#identity;
  }

  get sourceIp(): IpAddress | undefined {
    if (this.#sourceIp === null) this.#sourceIp = parseIpAddress(this.facts.sourceIp);
    return this.#sourceIp;
  }

  get remoteIp(): IpAddress | undefined {
    if (this.#remoteIp === null) this.#remoteIp = parseIpAddress(this.facts.remoteIp);
    return this.#remoteIp;
  }

  get destinationIp(): IpAddress | undefined {
    if (this.#destinationIp === null) this.#destinationIp = parseIpAddress(this.facts.destinationIp);
    return this.#destinationIp;
  }

  /** In lower case. */
  get host(): string | undefined {
    if (this.#host === null) this.#host = this.facts.http === undefined ? undefined : foldCase(this.facts.http.host);
    return this.#host;
  }

  /** In lower case. */
  get sni(): string {
    if (this.#sni === null) this.#sni = foldCase(this.facts.sni);
    return this.#sni;
  }
}
