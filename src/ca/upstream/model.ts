/** Another CA that is asked to sign. */

/** What is asked for: what comes back is compared with it. */
export interface UpstreamRequest {
  /** One PEM certificate request. */
  readonly csr: string;
  /** The one name of the certificate. */
  readonly uri: string;
  readonly ttlSeconds: number;
}

/** One way to ask another CA. Nothing that it answers is trusted. */
export interface Upstream {
  /** Where it is, such as `step-ca at https://ca.example:9000`. */
  readonly name: string;
  /** The PEM that it answers, leaf first. Rejects with an AppError: `unavailable` or `deadline-exceeded` where another attempt may help. */
  request(request: UpstreamRequest, signal: AbortSignal): Promise<readonly string[]>;
  close(): void;
}

/** `garrison serve --ca-upstream`, as the file says it. Paths are absolute. */
export type UpstreamConfig = IstioUpstreamConfig | StepUpstreamConfig;

export interface IstioUpstreamConfig {
  readonly kind: "istio";
  /** `HOST:PORT`. */
  readonly address: string;
  /** The DNS name that its certificate must have. */
  readonly serverName: string;
  /** What its own certificate and those that it signs must lead to. */
  readonly rootsFile: string;
  readonly credential: { readonly tokenFile: string } | { readonly certificateFile: string; readonly keyFile: string };
}

export interface StepUpstreamConfig {
  readonly kind: "step-ca";
  /** `https://HOST[:PORT]`. */
  readonly url: string;
  readonly rootsFile: string;
  /** The name of a JWK provisioner, and its private key. */
  readonly provisioner: string;
  readonly keyFile: string;
}
