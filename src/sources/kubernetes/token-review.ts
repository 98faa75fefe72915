/** Service account tokens, reviewed by the API server that issued them: a token of a deleted pod or account is worth nothing at once. */
import { AppError } from "../../core/error.ts";
import { isDnsLabel, isDnsSubdomain } from "../../policy/decode/kubernetes-name.ts";
import type { KubernetesApi } from "./api.ts";
import { isPlain } from "./api-objects.ts";

const REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews";
/** No token of Kubernetes' is nearly as long. */
const MAX_TOKEN = 16_384;
const GROUP = "system:serviceaccounts";

export interface ServiceAccountName {
  readonly namespace: string;
  readonly name: string;
}

/** Of a token that was made for a pod: while it is there, in the account's namespace. */
interface Pod {
  readonly name: string;
  readonly uid: string;
  /** Since Kubernetes 1.30. */
  readonly node?: string;
}

const EXTRA = "authentication.kubernetes.io/";

/** What the API server adds to the user's name: lists of one text each. */
function podOf(extra: unknown): Pod | undefined {
  const text = (key: string): string | undefined => {
    const values = isPlain(extra) ? extra[`${EXTRA}${key}`] : undefined;
    const [value, ...others]: readonly unknown[] = Array.isArray(values) ? values : [];
    return typeof value === "string" && value !== "" && others.length === 0 ? value : undefined;
  };
  const [name, uid, node] = ["pod-name", "pod-uid", "node-name"].map(text);
  return name === undefined || uid === undefined ? undefined : { name, uid, ...(node === undefined ? {} : { node }) };
}

function refuse(reason: string): AppError {
  return new AppError("unauthenticated", `the token was refused: ${reason}`);
}

/** `system:serviceaccount:NAMESPACE:NAME`, of exactly four parts. */
function accountOf(username: unknown): ServiceAccountName {
  const [system, kind, namespace = "", name = "", ...rest] = typeof username === "string" ? username.split(":") : [];
  const fits = system === "system" && kind === "serviceaccount" && rest.length === 0 && isDnsLabel(namespace) && isDnsSubdomain(name);
  if (!fits) throw refuse("it is of no service account");
  return { namespace, name };
}

/** Reviews tokens at `api`. Implements what the CA's token authenticator asks of a verifier. */
export class TokenReviewer {
  readonly #api: KubernetesApi;

  constructor(api: KubernetesApi) {
    this.#api = api;
  }

  /** Whose token it is. Throws `unauthenticated`; `unavailable` where the API server does not answer. */
  async verify(token: string, { audience }: { readonly audience: string }): Promise<ServiceAccountName & { readonly pod?: Pod }> {
    if (token.length > MAX_TOKEN) throw refuse("it is too long");
    const review = { apiVersion: "authentication.k8s.io/v1", kind: "TokenReview", spec: { token, audiences: [audience] } };
    const { status, body } = await this.#api.call("POST", REVIEWS, review);
    if (status !== 201 && status !== 200) throw new AppError("unavailable", `the API server does not review tokens: it answers ${status}`);
    const result = isPlain(body) && isPlain(body.status) ? body.status : {};
    if (result.authenticated !== true || !isPlain(result.user)) throw refuse("the API server does not vouch for it");
    const { audiences } = result;
    if (!Array.isArray(audiences) || !audiences.includes(audience)) throw refuse("it is for another audience");
    const { groups } = result.user;
    if (!Array.isArray(groups) || !groups.includes(GROUP)) throw refuse("it is of no service account");
    const pod = podOf(result.user.extra);
    return { ...accountOf(result.user.username), ...(pod === undefined ? {} : { pod }) };
  }
}
