/** The certificate authority: issuance in numbered steps, each of which a crash may follow. */
import { join } from "node:path";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { formatSpiffeId, type SpiffeId } from "../identity/spiffe-id.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import type { Certificate } from "../x509/certificate.ts";
import { type CertificateRequest, parseCsr } from "../x509/csr.ts";
import type { Issuer, PreparedCertificate } from "../x509/issuer.ts";
import { formatPem } from "../x509/pem.ts";
import { Profile } from "../x509/profile.ts";
import { type IntentId, Ledger } from "./ledger.ts";
import { openIssuer } from "./root-store.ts";
import { ensurePrivateFolder } from "./state-files.ts";

export interface AuthorityOptions {
  /** Made with mode 0700 where there is none. */
  readonly stateFolder: string;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly logger: Logger;
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

export class Authority {
  readonly trustDomain: TrustDomain;
  readonly ledger: Ledger;
  readonly #issuer: Issuer;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #rootsPem: string;

  /** `openAuthority` makes it. */
  constructor(options: {
    readonly trustDomain: TrustDomain;
    readonly issuer: Issuer;
    readonly ledger: Ledger;
    readonly clock: Clock;
    readonly logger: Logger;
  }) {
    this.trustDomain = options.trustDomain;
    this.ledger = options.ledger;
    this.#issuer = options.issuer;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#rootsPem = formatPem("CERTIFICATE", options.issuer.certificate.der);
  }

  /** The trusted roots. */
  get roots(): readonly Certificate[] {
    return [this.#issuer.certificate];
  }

  /** The trusted roots as one PEM text. */
  get rootsPem(): string {
    return this.#rootsPem;
  }

  /**
   * A workload's certificate: its one name is `identity`. Throws `invalid-argument` for a bad request or life,
   * `permission-denied` for another's name or trust domain, `unavailable` when the CA's own certificate is not valid or the
   * ledger cannot be written. Each refusal is in the ledger.
   */
  issue(request: IssueRequest): IssuedCertificate {
    return this.#issue(request, WORKLOAD, []);
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
    this.ledger.close();
  }

  #issue(request: IssueRequest, profile: Profile, dnsNames: readonly string[]): IssuedCertificate {
    const uri = formatSpiffeId(request.identity);
    const now = this.#clock.now();
    try {
      // Step 1: sign for this trust domain alone.
      if (request.identity.trustDomain !== this.trustDomain) {
        throw new AppError("permission-denied", `the identity \`${uri}\` is not of the trust domain \`${this.trustDomain}\``);
      }
      // Step 2: read the request, check its signature and key, and that it asks for no other name.
      const parsed = parseCsr(request.csr);
      checkNames(parsed, uri);
      // Step 3: prepare the certificate, with its serial and validity. Nothing has happened yet.
      const prepared = this.#issuer.prepare(profile, { spki: parsed.spki, uri, dnsNames, ttlSeconds: request.ttlSeconds, now });
      // Step 4: record the intent. From here on, a crash leaves a trace.
      const { serial, notBefore, notAfter } = prepared;
      const intent = this.ledger.intend({ serial, identity: uri, caller: request.caller, notBefore, notAfter }, now);
      // Steps 5 and 6: sign, once, and check what was signed.
      const leaf = this.#sign(prepared, intent, (signed) => checkSigned(signed, prepared, uri, parsed));
      // Step 7: record the outcome. A crash before it is written leaves an intent that the next start marks as interrupted.
      this.ledger.issue(intent);
      // Step 8: answer.
      return { leaf: formatPem("CERTIFICATE", leaf.der), intermediates: [], roots: this.#rootsPem, serial, notBefore, notAfter };
    } catch (error) {
      const refusal = AppError.from(error);
      this.recordRefusal(request.caller, uri, refusal);
      throw refusal;
    }
  }

  #sign(prepared: PreparedCertificate, intent: IntentId, check: (signed: Certificate) => void): Certificate {
    try {
      const signed = this.#issuer.sign(prepared);
      check(signed);
      return signed;
    } catch (error) {
      this.ledger.fail(intent);
      throw error;
    }
  }
}

/**
 * Opens the CA of a state folder; the first time, makes its key and its root certificate. Throws `unsafe-permissions` when
 * others may use the folder, `invalid-configuration` when its files do not fit together.
 */
export function openAuthority({ stateFolder, trustDomain, clock, logger }: AuthorityOptions): Authority {
  ensurePrivateFolder(stateFolder);
  const folder = join(stateFolder, "ca");
  const issuer = openIssuer(folder, { trustDomain, now: clock.now(), backdateSeconds: BACKDATE_SECONDS });
  const ledger = new Ledger(join(folder, "ledger.sqlite"));
  if (ledger.interrupted > 0) {
    logger.log("warn", "the last run ended while it was signing", { certificates: ledger.interrupted });
  }
  return new Authority({ trustDomain, issuer, ledger, clock, logger });
}
