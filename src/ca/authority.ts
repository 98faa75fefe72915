/** The certificate authority: issuance in numbered steps, each of which a crash may follow (docs/issuance-cycle.md). */
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { formatSpiffeId, type SpiffeId } from "../identity/spiffe-id.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import { type Certificate, certificateDigest } from "../x509/certificate.ts";
import { parseCsrAside } from "../x509/csr.ts";
import type { LeafRequest } from "../x509/issuer.ts";
import type { KeySpec } from "../x509/key-spec.ts";
import { formatPem } from "../x509/pem.ts";
import type { Profile } from "../x509/profile.ts";
import { authorityId } from "./authority-id.ts";
import { AuthorityLists } from "./authority-lists.ts";
import type { CaSource, Certification, SignerStatus } from "./ca-source.ts";
import type { Certified, Certifier, PreparedOrder } from "./certifier.ts";
import { checkNames, checkSigned, SERVING, WORKLOAD } from "./issue-checks.ts";
import { KnownIntermediates } from "./known-intermediates.ts";
import { type IntentId, Ledger } from "./ledger.ts";
import type { CredentialKind } from "./ledger-database.ts";
import { reconcile } from "./ledger-log.ts";
import { encodeEntry } from "./log/entry.ts";
import { TransparencyLog } from "./log/transparency-log.ts";
import { OwnCa } from "./own-ca.ts";
import { PluggedCa } from "./plugged-ca.ts";
import { restoreRevocations } from "./restore-revocations.ts";
import { Revocations } from "./revocations.ts";
import { ensurePrivateFolder, replacePrivateFile } from "./state-files.ts";

export interface AuthorityOptions {
  /** Made with mode 0700 where there is none. */
  readonly stateFolder: string;
  /** Of what the CA has done, with no key but the log's: made as the state folder, which it is without. */
  readonly recordsFolder?: string;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The folder of the operator's own CA; without it or `ca` the CA is made here on the first start. */
  readonly caFolder?: string;
  /** A CA that has been opened; closed with the authority. */
  readonly ca?: CaSource;
  /** Where verifiers outside fetch the list of revoked certificates: in every certificate. */
  readonly crlUrl?: string;
  /** The keys of authorities that are made here; P-256 without. */
  readonly keySpec?: KeySpec | undefined;
}

/** What certificates of this CA are verified by. */
export interface TrustAnchors {
  /** Whether a certificate of this serial number (lower-case hex) is revoked. */
  readonly isRevoked: (serial: string) => boolean;
  readonly roots: readonly Certificate[];
  /** Of every issuer that there has been, since connections do not tell of those that a peer brought. */
  readonly intermediates: readonly Certificate[];
}

/** What the CA tells of itself; nothing of a signer as long as another CA has certified nothing. */
export interface AuthorityStatus extends Partial<SignerStatus> {
  /** `own`, or where the operator's CA is. */
  readonly source: string;
  readonly intermediates: number;
  readonly roots: number;
  /** Why the newest files are not in force, or the CA does not sign. */
  readonly problem?: string;
}

export interface IssueRequest {
  /** One PEM certificate request. */
  readonly csr: string;
  /** The caller's proved identity: the one name of the certificate. */
  readonly identity: SpiffeId;
  /** 0 takes the default of 24 hours. */
  readonly ttlSeconds: number;
  /** How the caller proved its identity, for the ledger. */
  readonly caller: string;
}

export interface IssuedCertificate {
  /** PEM. */
  readonly leaf: string;
  /** PEM of each, in the order leaf to root. */
  readonly intermediates: readonly string[];
  /** PEM of all trusted roots together. */
  readonly roots: string;
  /** Lower-case hex. */
  readonly serial: string;
  /** Milliseconds. */
  readonly notBefore: number;
  readonly notAfter: number;
}

declare const RECORDED: unique symbol;

/** A certificate whose proof of inclusion in the log can be had. */
export interface RecordedCertificate extends IssuedCertificate {
  readonly [RECORDED]: true;
}

/** A certification with the texts that every answer carries. */
interface Signing extends Certification {
  readonly rootsPem: string;
}

function pemOf({ der }: Certificate): string {
  return formatPem("CERTIFICATE", der);
}

function signingOf(certification: Certification): Signing {
  return { ...certification, rootsPem: certification.roots.map(pemOf).join("") };
}

function openSource(options: AuthorityOptions, folder: string): CaSource {
  const { clock, logger, caFolder, trustDomain, ca, keySpec } = options;
  if (caFolder === undefined && ca === undefined) return new OwnCa({ folder, trustDomain, clock, logger, keySpec });
  return ca ?? new PluggedCa({ folder: caFolder ?? "", clock, logger });
}

export class Authority {
  readonly trustDomain: TrustDomain;
  readonly ledger: Ledger;
  readonly revocations: Revocations;
  readonly log: TransparencyLog;
  /** The signed lists of what is revoked. */
  readonly lists: AuthorityLists;
  /** The trusted roots as one PEM file, kept up to date: what workloads of this machine start with. */
  readonly rootsFile: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #source: CaSource;
  readonly #isOwn: boolean;
  readonly #listeners: (() => void)[] = [];
  #signing: Signing;
  readonly #known: KnownIntermediates;
  readonly #crl: Pick<LeafRequest, "crlUrl">;

  /** `openAuthority` makes it. */
  constructor(options: AuthorityOptions) {
    const { stateFolder, trustDomain, clock, logger } = options;
    const own = join(stateFolder, "ca");
    const folder = join(options.recordsFolder ?? stateFolder, "ca");
    ensurePrivateFolder(folder);
    this.trustDomain = trustDomain;
    this.#clock = clock;
    this.#logger = logger;
    this.#crl = options.crlUrl === undefined ? {} : { crlUrl: options.crlUrl };
    this.#source = openSource(options, own);
    this.#isOwn = this.#source.name === "own";
    this.rootsFile = join(this.#isOwn ? own : stateFolder, "root-cert.pem");
    this.#signing = signingOf(this.#source.current);
    this.#source.follow((current) => this.#replace(current));
    let ledger: Ledger | undefined;
    let revocations: Revocations | undefined;
    try {
      ledger = new Ledger(join(folder, "ledger.sqlite"), (entries) => this.log.append(entries.map(encodeEntry)));
      this.ledger = ledger;
      // After the ledger, by whose lock the folder is this process's alone.
      revocations = new Revocations(join(folder, "revocations.sqlite"));
      this.revocations = revocations;
      this.lists = new AuthorityLists({ revocations, ledger, signing: () => this.#signing, replaced: !this.#isOwn, clock });
      this.log = new TransparencyLog(folder, trustDomain);
      this.#known = new KnownIntermediates(join(folder, "intermediates.pem"), clock, logger);
      reconcile(this.ledger, this.log, clock.now(), logger);
      restoreRevocations(ledger, revocations, clock.now(), logger);
      this.#publish();
    } catch (error) {
      this.#source.close();
      ledger?.close();
      revocations?.close();
      throw error;
    }
  }

  /** The trusted roots as one PEM text. */
  get rootsPem(): string {
    return this.#signing.rootsPem;
  }

  get trust(): TrustAnchors {
    return {
      roots: this.#signing.roots,
      intermediates: this.#known.all,
      isRevoked: (serial) => this.revocations.isRevoked(serial),
    };
  }

  /** The CA that Garrison makes, whose authorities can be replaced by command; undefined where the CA is the operator's. */
  get own(): OwnCa | undefined {
    return this.#source instanceof OwnCa ? this.#source : undefined;
  }

  /** The key identifiers of authorities whose certificates are to be replaced. */
  get tainted(): ReadonlySet<string> {
    return new Set(this.own?.authorities.flatMap(({ id, state }) => (state === "tainted" ? [id] : [])));
  }

  /** Whether certificates of the authority with this key identifier are to be replaced: it is tainted, or the operator has put another in its place. */
  isReplaced(id: string): boolean {
    const { issuer } = this.#signing;
    return this.tainted.has(id) || (!this.#isOwn && issuer !== undefined && authorityId(issuer.certificate) !== id);
  }

  get status(): AuthorityStatus {
    const { problem, name, current } = this.#source;
    return {
      source: name,
      ...current.signer,
      intermediates: current.intermediates.length,
      roots: current.roots.length,
      ...(problem === undefined ? {} : { problem }),
    };
  }

  /** Calls `listener` whenever other keys or roots have come into force. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /**
   * A workload's certificate: its one name is `identity`. Rejects with `invalid-argument` for a bad request or life,
   * `permission-denied` for another's name or trust domain, `unavailable` when the CA's own certificate is not valid, its key not within reach, or the
   * ledger cannot be written. Each refusal is in the ledger.
   */
  issue(request: IssueRequest): Promise<IssuedCertificate> {
    return this.#issue(request, WORKLOAD, []);
  }

  /** The certificate as one that may be handed out: the log has it on the disk. Throws `unavailable` when it cannot be written. */
  async recorded(issued: IssuedCertificate): Promise<RecordedCertificate> {
    // Those that are asked for at one time are recorded together.
    await setImmediate();
    this.ledger.flush();
    await this.log.committed();
    return issued as RecordedCertificate;
  }

  /** The control plane's own certificate, with DNS names beside its identity. Rejects as `issue` does. */
  issueServing(request: IssueRequest, dnsNames: readonly string[]): Promise<IssuedCertificate> {
    return this.#issue(request, SERVING, dnsNames, this.#signing.serving);
  }

  /** Records that a caller was turned away. Never throws: what cannot be recorded is refused all the same, and logged. */
  recordRefusal(caller: string, identity: string, error: AppError, kind: CredentialKind = "certificate"): void {
    try {
      this.ledger.refuse({ caller, identity, reason: `${error.code}: ${error.message}`, kind }, this.#clock.now());
    } catch (cause) {
      this.#logger.log("error", "a refusal was not recorded", { reason: AppError.from(cause).message });
    }
  }

  close(): void {
    this.#source.close();
    this.ledger.close();
    this.revocations.close();
    this.log.close();
  }

  #publish(): void {
    this.#known.add(this.#signing.intermediates);
    if (!this.#isOwn) replacePrivateFile(this.rootsFile, this.#signing.rootsPem);
  }

  #replace(current: Certification): void {
    this.#signing = signingOf(current);
    this.#publish();
    for (const listener of this.#listeners) listener();
  }

  async #issue(
    request: IssueRequest,
    profile: Profile,
    dnsNames: readonly string[],
    certifier: Certifier = this.#signing.certifier,
  ): Promise<IssuedCertificate> {
    const uri = formatSpiffeId(request.identity);
    const now = this.#clock.now();
    const { rootsPem } = this.#signing;
    try {
      // Step 3: sign for this trust domain alone; steps 1 and 2, who calls and whether it may, are the service's.
      if (request.identity.trustDomain !== this.trustDomain) {
        throw new AppError("permission-denied", `the identity \`${uri}\` is not of the trust domain \`${this.trustDomain}\``);
      }
      // Still step 3: read the request, check its signature and key, and that it asks for no other name.
      const parsed = await parseCsrAside(request.csr);
      checkNames(parsed, uri);
      // Step 4: prepare the certificate, with its serial and validity, and lint it. Nothing has happened yet.
      const { csr, ttlSeconds } = request;
      const prepared = certifier.prepare(profile, { csr, spki: parsed.spki, uri, dnsNames, ttlSeconds, now, ...this.#crl });
      // Still step 4: nothing for who or what is revoked.
      this.revocations.checkIssuance(uri, prepared.keyId);
      // Step 5: record the intent. From here on, a crash leaves a trace.
      this.log.checkRoom();
      const { serial = "", keyId, notBefore, notAfter } = prepared;
      const intent = await this.ledger.intended({ serial, identity: uri, caller: request.caller, keyId, notBefore, notAfter }, now);
      // Steps 6 and 7: sign, once, and compare what was signed with what was prepared and asked for.
      const { leaf, intermediates } = await this.#certify(prepared, intent, (signed) => {
        checkSigned(signed, prepared, uri, parsed);
        // Who or what was revoked meanwhile is not among the issued that its revocation has found.
        this.revocations.checkIssuance(uri, prepared.keyId);
        if (this.revocations.isRevoked(signed.serial)) throw new AppError("internal", "the signed certificate is one that was revoked");
      });
      // Step 8: record the outcome. Only `recorded` tells when it is in the log: nobody else gets the certificate before.
      const chosen = { serial: leaf.serial, notBefore: leaf.notBefore, notAfter: leaf.notAfter };
      const authority = leaf.authorityKeyId === undefined ? {} : { authority: leaf.authorityKeyId };
      this.ledger.issue(intent, { sha256: certificateDigest(leaf), ...authority, ...(prepared.serial === undefined ? { chosen } : {}) });
      this.#known.add(intermediates);
      return { leaf: pemOf(leaf), intermediates: intermediates.map(pemOf), roots: rootsPem, ...chosen };
    } catch (error) {
      const refusal = AppError.from(error);
      this.recordRefusal(request.caller, uri, refusal);
      throw refusal;
    }
  }

  async #certify(prepared: PreparedOrder, intent: IntentId, check: (signed: Certificate) => void): Promise<Certified> {
    try {
      const certified = await prepared.certify();
      check(certified.leaf);
      return certified;
    } catch (error) {
      this.ledger.fail(intent);
      throw error;
    }
  }
}

/**
 * Opens the CA of a state folder, or with `caFolder` the operator's own; the first time, makes its key and its root certificate. Throws `unsafe-permissions` when
 * others may use the folder, `invalid-configuration` when its files do not fit together.
 */
export function openAuthority(options: AuthorityOptions): Authority {
  for (const folder of [options.stateFolder, options.recordsFolder]) if (folder !== undefined) ensurePrivateFolder(folder);
  const authority = new Authority(options);
  const { interrupted } = authority.ledger;
  if (interrupted > 0) options.logger.log("warn", "the last run ended while it was signing", { certificates: interrupted });
  return authority;
}
