/** The certificate authority: issuance in numbered steps, each of which a crash may follow (docs/issuance-cycle.md). */
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { formatSpiffeId, type SpiffeId } from "../identity/spiffe-id.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import { type Certificate, certificateDigest } from "../x509/certificate.ts";
import { type CertificateRequest, parseCsr } from "../x509/csr.ts";
import type { Issuer, LeafRequest, PreparedCertificate } from "../x509/issuer.ts";
import { formatPem } from "../x509/pem.ts";
import { Profile } from "../x509/profile.ts";
import { keyKindOf } from "../x509/public-key.ts";
import { type IntentId, Ledger } from "./ledger.ts";
import { reconcile } from "./ledger-log.ts";
import { encodeEntry } from "./log/entry.ts";
import { TransparencyLog } from "./log/transparency-log.ts";
import { PluggedCa } from "./plugged-ca.ts";
import { RevocationListSigner } from "./revocation-list.ts";
import { Revocations } from "./revocations.ts";
import { openOwnCa } from "./root-store.ts";
import { areAmong, type SigningSet } from "./signing-set.ts";
import { ensurePrivateFolder, replacePrivateFile } from "./state-files.ts";

export interface AuthorityOptions {
  /** Made with mode 0700 where there is none. */
  readonly stateFolder: string;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The folder of the operator's own CA; without it the CA is made here on the first start. */
  readonly caFolder?: string;
  /** Where verifiers outside fetch the list of revoked certificates: in every certificate. */
  readonly crlUrl?: string;
}

/** What certificates of this CA are verified by. */
export interface TrustAnchors {
  /** Whether a certificate of this serial number (lower-case hex) is revoked. */
  readonly isRevoked: (serial: string) => boolean;
  readonly roots: readonly Certificate[];
  /** Of every issuer since the start, since connections do not tell of those that a peer brought. */
  readonly intermediates: readonly Certificate[];
}

/** What the CA tells of itself. */
export interface AuthorityStatus {
  /** `own`, or the folder that the operator's CA is in. */
  readonly source: string;
  readonly keyKind: string;
  /** Of the certificate that signs; lower-case hex. */
  readonly serial: string;
  /** When it or one above it expires, in milliseconds. */
  readonly notAfter: number;
  readonly intermediates: number;
  readonly roots: number;
  /** Why the newest files are not in force. */
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

const DAY_SECONDS = 24 * 3600;
/** For peers whose clocks are slow. */
const BACKDATE_SECONDS = 120;
const LIVES = { defaultTtlSeconds: DAY_SECONDS, maxTtlSeconds: 90 * DAY_SECONDS, backdateSeconds: BACKDATE_SECONDS } as const;
const WORKLOAD = Profile.from({ ...LIVES, dnsNames: "refused" });
/** The control plane's own: clients that know no SPIFFE find it by DNS names. */
const SERVING = Profile.from({ ...LIVES, dnsNames: "allowed" });

function checkNames(request: CertificateRequest, uri: string): void {
  if (request.names.every(({ kind, value }) => kind === "uri" && value === uri)) return;
  throw new AppError("permission-denied", "the certificate request asks for a name other than the caller's identity", {
    help: "leave the subject alternative name out, or ask for the identity of the service account that sends the request",
  });
}

/** Looks at the signed certificate as any other reader would, so that a fault in the writer never leaves the house. */
function checkSigned(signed: Certificate, prepared: PreparedCertificate, uri: string, request: CertificateRequest): void {
  const [first, ...others] = signed.names.filter((name) => name.kind === "uri");
  const asMeant =
    signed.serial === prepared.serial &&
    signed.notBefore === prepared.notBefore &&
    signed.notAfter === prepared.notAfter &&
    first?.value === uri &&
    others.length === 0 &&
    !signed.isCa &&
    Buffer.compare(signed.spki, request.spki) === 0;
  if (!asMeant) throw new AppError("internal", "the signed certificate is not what was asked for");
}

/** A signing set with the texts that every answer carries. */
interface Signing {
  readonly set: SigningSet;
  readonly intermediates: readonly string[];
  readonly rootsPem: string;
}

function signingOf(set: SigningSet): Signing {
  const pem = ({ der }: Certificate) => formatPem("CERTIFICATE", der);
  return { set, intermediates: set.intermediates.map(pem), rootsPem: set.roots.map(pem).join("") };
}

export class Authority {
  readonly trustDomain: TrustDomain;
  readonly ledger: Ledger;
  readonly revocations: Revocations;
  readonly log: TransparencyLog;
  /** The trusted roots as one PEM file, kept up to date: what workloads of this machine start with. */
  readonly rootsFile: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #plugged: PluggedCa | undefined;
  readonly #listeners: (() => void)[] = [];
  #signing: Signing;
  #intermediates: readonly Certificate[] = [];
  readonly #lists: RevocationListSigner;
  readonly #crl: Pick<LeafRequest, "crlUrl">;

  /** `openAuthority` makes it. */
  constructor(options: AuthorityOptions) {
    const { stateFolder, trustDomain, clock, logger, caFolder } = options;
    const folder = join(stateFolder, "ca");
    this.trustDomain = trustDomain;
    this.#clock = clock;
    this.#logger = logger;
    this.#crl = options.crlUrl === undefined ? {} : { crlUrl: options.crlUrl };
    this.rootsFile = caFolder === undefined ? join(folder, "root-cert.pem") : join(stateFolder, "root-cert.pem");
    if (caFolder === undefined) {
      this.#signing = signingOf(openOwnCa(folder, { trustDomain, now: clock.now(), backdateSeconds: BACKDATE_SECONDS }));
    } else {
      ensurePrivateFolder(folder);
      this.#plugged = new PluggedCa({ folder: caFolder, clock, logger, onChange: (set) => this.#replace(set) });
      this.#signing = signingOf(this.#plugged.current);
    }
    let ledger: Ledger | undefined;
    let revocations: Revocations | undefined;
    try {
      ledger = new Ledger(join(folder, "ledger.sqlite"), (entries) => this.log.append(entries.map(encodeEntry)));
      this.ledger = ledger;
      // After the ledger, by whose lock the state folder is this process's alone.
      revocations = new Revocations(join(folder, "revocations.sqlite"), clock.now());
      this.revocations = revocations;
      this.#lists = new RevocationListSigner(revocations, clock);
      this.log = new TransparencyLog(folder, trustDomain);
      reconcile(this.ledger, this.log, clock.now(), logger);
      this.#publish();
    } catch (error) {
      this.#plugged?.close();
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
      roots: this.#signing.set.roots,
      intermediates: this.#intermediates,
      isRevoked: (serial) => this.revocations.isRevoked(serial),
    };
  }

  /** The signed list of what this CA has revoked, as PEM. Throws `invalid-argument` where its certificate may not sign one. */
  get revocationList(): string {
    return this.#lists.list(this.#signing.set.issuer);
  }

  get status(): AuthorityStatus {
    const { issuer, intermediates, roots } = this.#signing.set;
    const problem = this.#plugged?.problem;
    return {
      source: this.#plugged?.folder ?? "own",
      keyKind: keyKindOf(issuer.certificate.spki).name,
      serial: issuer.certificate.serial,
      notAfter: issuer.validUntil,
      intermediates: intermediates.length,
      roots: roots.length,
      ...(problem === undefined ? {} : { problem }),
    };
  }

  /** Calls `listener` whenever other keys or roots have come into force. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /**
   * A workload's certificate: its one name is `identity`. Throws `invalid-argument` for a bad request or life,
   * `permission-denied` for another's name or trust domain, `unavailable` when the CA's own certificate is not valid or the
   * ledger cannot be written. Each refusal is in the ledger.
   */
  issue(request: IssueRequest): IssuedCertificate {
    return this.#issue(request, WORKLOAD, []);
  }

  /** The certificate as one that may be handed out: the log has it on the disk. Throws `unavailable` when it cannot be written. */
  async recorded(issued: IssuedCertificate): Promise<RecordedCertificate> {
    // Those that are asked for at one time are recorded together.
    await setImmediate();
    this.ledger.flush();
    await this.log.published();
    return issued as RecordedCertificate;
  }

  /** The control plane's own certificate, with DNS names beside its identity. Throws as `issue` does. */
  issueServing(request: IssueRequest, dnsNames: readonly string[]): IssuedCertificate {
    return this.#issue(request, SERVING, dnsNames);
  }

  /** Records that a caller was turned away. Never throws: what cannot be recorded is refused all the same, and logged. */
  recordRefusal(caller: string, identity: string, error: AppError): void {
    try {
      this.ledger.refuse({ caller, identity, reason: `${error.code}: ${error.message}` }, this.#clock.now());
    } catch (cause) {
      this.#logger.log("error", "a refusal was not recorded", { reason: AppError.from(cause).message });
    }
  }

  close(): void {
    this.#plugged?.close();
    this.ledger.close();
    this.revocations.close();
    this.log.close();
  }

  /** The intermediates of former issuers stay known as long as they are valid: leaves that they signed live on. */
  #publish(): void {
    const { set, rootsPem } = this.#signing;
    const former = this.#intermediates.filter(({ notAfter }) => notAfter > this.#clock.now());
    this.#intermediates = [...former.filter((certificate) => !areAmong([certificate], set.intermediates)), ...set.intermediates];
    if (this.#plugged !== undefined) replacePrivateFile(this.rootsFile, rootsPem);
  }

  #replace(set: SigningSet): void {
    this.#signing = signingOf(set);
    this.#publish();
    for (const listener of this.#listeners) listener();
  }

  #issue(request: IssueRequest, profile: Profile, dnsNames: readonly string[]): IssuedCertificate {
    const uri = formatSpiffeId(request.identity);
    const now = this.#clock.now();
    const { set, intermediates, rootsPem } = this.#signing;
    try {
      // Step 3: sign for this trust domain alone; steps 1 and 2, who calls and whether it may, are the service's.
      if (request.identity.trustDomain !== this.trustDomain) {
        throw new AppError("permission-denied", `the identity \`${uri}\` is not of the trust domain \`${this.trustDomain}\``);
      }
      // Still step 3: read the request, check its signature and key, and that it asks for no other name.
      const parsed = parseCsr(request.csr);
      checkNames(parsed, uri);
      // Step 4: prepare the certificate, with its serial and validity, and lint it. Nothing has happened yet.
      const prepared = set.issuer.prepare(profile, { spki: parsed.spki, uri, dnsNames, ttlSeconds: request.ttlSeconds, now, ...this.#crl });
      // Still step 4: nothing for who or what is revoked.
      this.revocations.checkIssuance(uri, prepared.keyId);
      // Step 5: record the intent. From here on, a crash leaves a trace.
      this.log.checkRoom();
      const { serial, keyId, notBefore, notAfter } = prepared;
      const intent = this.ledger.intend({ serial, identity: uri, caller: request.caller, keyId, notBefore, notAfter }, now);
      // Steps 6 and 7: sign, once, and compare what was signed with what was prepared and asked for.
      const leaf = this.#sign(set.issuer, prepared, intent, (signed) => checkSigned(signed, prepared, uri, parsed));
      // Step 8: record the outcome. Only `recorded` tells when it is in the log: nobody else gets the certificate before.
      this.ledger.issue(intent, certificateDigest(leaf));
      return { leaf: formatPem("CERTIFICATE", leaf.der), intermediates, roots: rootsPem, serial, notBefore, notAfter };
    } catch (error) {
      const refusal = AppError.from(error);
      this.recordRefusal(request.caller, uri, refusal);
      throw refusal;
    }
  }

  #sign(issuer: Issuer, prepared: PreparedCertificate, intent: IntentId, check: (signed: Certificate) => void): Certificate {
    try {
      const signed = issuer.sign(prepared);
      check(signed);
      return signed;
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
  ensurePrivateFolder(options.stateFolder);
  const authority = new Authority(options);
  const { interrupted } = authority.ledger;
  if (interrupted > 0) options.logger.log("warn", "the last run ended while it was signing", { certificates: interrupted });
  return authority;
}
