/** What an agent says of itself: plain JSON without a secret. Times are ISO 8601. */
import type { ErrorCode } from "../core/error.ts";
import type { CertificateState } from "./certificate-manager.ts";
import type { NamesStatus } from "./dns/names.ts";
import type { ProxyState } from "./proxy-supervisor.ts";
import type { RecordsStatus } from "./records/log-relay.ts";
import type { RegistrationStatus } from "./registration.ts";

export interface CertificateStatus {
  readonly state: CertificateState["kind"];
  readonly serial?: string;
  readonly notBefore?: string;
  readonly notAfter?: string;
  /** When the next renewal, or the next attempt at one, is due. */
  readonly nextAttempt?: string;
  /** Less than a fifth of its life is left, or nothing, and it is not renewed. */
  readonly expiresSoon: boolean;
  /** Attempts that failed since the last certificate. */
  readonly failures: number;
  readonly lastError?: { readonly code: ErrorCode; readonly message: string; readonly help?: string };
}

export interface ProxyStatus {
  readonly kind: "envoy" | "embedded" | "none";
  readonly state: ProxyState["kind"];
  readonly pid?: number;
  readonly restarts: number;
  /** How the last one ended, while the next is not started. */
  readonly lastExit?: string;
}

export interface AgentStatus {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  /** A SPIFFE ID. */
  readonly identity: string;
  readonly pid: number;
  /** Whether the certificate is valid, the proxy serves, and names are known where they are answered. */
  readonly ready: boolean;
  readonly certificate: CertificateStatus;
  /** Whether the trust bundle in force is the one that the control plane pushed last, over a stream that is open. */
  readonly trustPushed: boolean;
  readonly proxy: ProxyStatus;
  /** Of a machine that registers itself. */
  readonly registration?: RegistrationStatus;
  /** What its Envoy has recorded and the control plane has not; absent without an Envoy. */
  readonly records?: RecordsStatus;
  /** Open SDS streams. */
  readonly sdsStreams: number;
  /** Absent where questions of DNS are not answered. */
  readonly dns?: NamesStatus;
  readonly workloadApi: { readonly socket: string; readonly streams: number };
  /** Resident bytes. */
  readonly memory: { readonly agent?: number; readonly proxy?: number };
}

const iso = (time: number) => new Date(time).toISOString();

export function certificateStatus(state: CertificateState, expiresSoon: boolean): CertificateStatus {
  const certificate = state.kind === "starting" ? undefined : state.certificate;
  const lastError = "lastError" in state ? state.lastError : undefined;
  return {
    state: state.kind,
    ...(certificate === undefined
      ? {}
      : { serial: certificate.serial, notBefore: iso(certificate.notBefore), notAfter: iso(certificate.notAfter) }),
    ...("nextAttemptAt" in state ? { nextAttempt: iso(state.nextAttemptAt) } : {}),
    expiresSoon,
    failures: "failures" in state ? state.failures : 0,
    ...(lastError === undefined
      ? {}
      : {
          lastError: {
            code: lastError.code,
            message: lastError.message,
            ...(lastError.help === undefined ? {} : { help: lastError.help }),
          },
        }),
  };
}

export function proxyStatus(kind: "envoy" | "embedded", state: ProxyState, restarts: number): ProxyStatus {
  const pid = "pid" in state ? state.pid : undefined;
  return {
    kind,
    state: state.kind,
    restarts,
    ...(pid === undefined ? {} : { pid }),
    ...(state.kind === "restarting" ? { lastExit: state.lastExit } : {}),
  };
}
