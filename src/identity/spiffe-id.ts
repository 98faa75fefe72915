import { AppError } from "../core/error.ts";
import { parseTrustDomain, type TrustDomain } from "./trust-domain.ts";

/** The identity of a workload: `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`. */
export interface SpiffeId {
  readonly trustDomain: TrustDomain;
  readonly namespace: string;
  readonly serviceAccount: string;
}

const SCHEME = "spiffe://";
/** SPIFFE-ID §2.3: at most 2048 bytes. */
const MAX_LENGTH = 2048;
/** A namespace or service account as Kubernetes allows it (RFC 1123 label, or subdomain for accounts). */
const NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

function invalid(text: string, why: string): AppError {
  return new AppError("invalid-argument", `\`${text.slice(0, 300)}\` is not a workload identity: ${why}`, {
    help: "write it as `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`",
  });
}

/** A workload identity from its URI. Exactly five segments, with the literals `ns` and `sa` (Istio `pkg/spiffe`). Throws `invalid-argument`. */
export function parseSpiffeId(text: string): SpiffeId {
  if (text.length > MAX_LENGTH) throw invalid(text, `longer than ${MAX_LENGTH} characters`);
  if (!text.startsWith(SCHEME)) throw invalid(text, "the scheme is not `spiffe`");
  const segments = text.slice(SCHEME.length).split("/");
  const [trustDomain, ns, namespace, sa, serviceAccount] = segments;
  if (segments.length !== 5 || ns !== "ns" || sa !== "sa") throw invalid(text, "the path is not `/ns/NAMESPACE/sa/SERVICE_ACCOUNT`");
  if (!NAME.test(namespace ?? "")) throw invalid(text, "the namespace is not a Kubernetes name");
  if (!NAME.test(serviceAccount ?? "")) throw invalid(text, "the service account is not a Kubernetes name");
  return { trustDomain: parseTrustDomain(trustDomain ?? ""), namespace: namespace ?? "", serviceAccount: serviceAccount ?? "" };
}

/** SPIFFE-ID §2.2: letters, digits, dots, dashes and underscores in each segment; none is empty, `.` or `..`. */
const PATH = /^(\/(?!\.{1,2}(\/|$))[A-Za-z0-9._-]+)+$/;

/** Whether the text is a SPIFFE ID of a workload of this trust domain, whatever its path: other domains name theirs as they like. */
export function isSpiffeIdOf(text: string, trustDomain: string): boolean {
  const authority = `${SCHEME}${trustDomain}`;
  return text.length <= MAX_LENGTH && text.startsWith(`${authority}/`) && PATH.test(text.slice(authority.length));
}

/** The URI of an identity. */
export function formatSpiffeId(id: SpiffeId): string {
  return `${SCHEME}${id.trustDomain}/ns/${id.namespace}/sa/${id.serviceAccount}`;
}

/** `NAMESPACE/NAME` of a service account, checked. Throws `invalid-argument`. */
export function parseServiceAccount(text: string): { readonly namespace: string; readonly name: string } {
  const [namespace, name, ...rest] = text.split("/");
  if (namespace === undefined || name === undefined || rest.length > 0 || !NAME.test(namespace) || !NAME.test(name)) {
    throw new AppError("invalid-argument", `\`${text.slice(0, 300)}\` is not a service account`, {
      help: "write it as NAMESPACE/NAME, such as `photo-ns/photo-frontend`",
    });
  }
  return { namespace, name };
}
