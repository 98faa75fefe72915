/** What one SDS stream asked for, was sent and accepted. No socket here. */
import { AppError } from "../core/error.ts";
import type { SecretResponse, WantedSecrets } from "./sds-messages.ts";
import type { SecretStore } from "./secrets.ts";

/** The proxy asks for three; whoever asks for many more is not one. */
const MAX_NAMES_PER_REQUEST = 16;

/** How far a stream has come with one version of a secret. */
export type Delivery = "waiting" | "accepted" | { readonly refused: string };

/** What a client was sent last, by name: the versions. */
interface Sent {
  readonly nonce: string;
  readonly versions: ReadonlyMap<string, string>;
}

export class SecretSubscription {
  readonly #store: SecretStore;
  readonly #names = new Set<string>();
  /** The version that the client has, or will have when it has read what was sent. */
  readonly #sent = new Map<string, string>();
  readonly #accepted = new Map<string, string>();
  readonly #refused = new Map<string, { readonly version: string; readonly reason: string }>();
  #last: Sent | undefined;
  #count = 0;

  constructor(store: SecretStore) {
    this.#store = store;
  }

  get names(): ReadonlySet<string> {
    return this.#names;
  }

  /** Takes names away and adds some. Throws `not-found`, `resource-exhausted`. */
  change({ subscribe, unsubscribe, held }: Extract<WantedSecrets, { kind: "change" }>): void {
    for (const name of unsubscribe) this.#remove(name);
    for (const name of this.#check(subscribe)) {
      this.#names.add(name);
      const version = held.get(name);
      if (version === undefined) continue;
      this.#sent.set(name, version);
      this.#accepted.set(name, version);
    }
  }

  /** Makes `names` the whole subscription. Throws as `change`. */
  replace(names: readonly string[]): void {
    const wanted = this.#check(names);
    for (const name of this.#names) if (!wanted.includes(name)) this.#remove(name);
    for (const name of wanted) this.#names.add(name);
  }

  #check(names: readonly string[]): readonly string[] {
    if (names.length > MAX_NAMES_PER_REQUEST)
      throw new AppError("resource-exhausted", `${names.length} secrets asked for at once, and ${MAX_NAMES_PER_REQUEST} are allowed`);
    for (const name of names) this.#store.check(name);
    return names;
  }

  #remove(name: string): void {
    this.#names.delete(name);
    this.#sent.delete(name);
    this.#accepted.delete(name);
  }

  /** What the client lacks, marked as sent under a new nonce; undefined where it has everything. */
  take(): SecretResponse | undefined {
    const secrets = [...this.#names].flatMap((name) => {
      const secret = this.#store.get(name);
      return secret === undefined || this.#sent.get(name) === secret.version ? [] : [secret];
    });
    if (secrets.length === 0) return undefined;
    for (const { name, version } of secrets) this.#sent.set(name, version);
    this.#count += 1;
    const nonce = String(this.#count);
    this.#last = { nonce, versions: new Map(secrets.map(({ name, version }) => [name, version])) };
    return { nonce, version: [...this.#names].map((name) => this.#sent.get(name) ?? "").join("+"), secrets };
  }

  /** Takes the answer to what was sent last; false for an answer to anything older. A refused secret is not sent again until it changes. */
  settle(nonce: string, refusal: string | undefined): boolean {
    if (nonce !== this.#last?.nonce) return false;
    for (const [name, version] of this.#last.versions) {
      if (refusal === undefined) this.#accepted.set(name, version);
      else this.#refused.set(name, { version, reason: refusal });
    }
    return true;
  }

  /** How far the client has come with that version. */
  delivery(name: string, version: string): Delivery {
    if (this.#accepted.get(name) === version) return "accepted";
    const refused = this.#refused.get(name);
    return refused?.version === version ? { refused: refused.reason } : "waiting";
  }
}
