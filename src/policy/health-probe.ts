/** How the agent of a WorkloadGroup's member asks whether its application is well (Istio `networking.v1.ReadinessProbe`). */
export type HealthProbe = ProbeTimes & ProbeHandler;

export interface ProbeTimes {
  readonly initialDelaySeconds: number;
  readonly timeoutSeconds: number;
  readonly periodSeconds: number;
  /** Answers of one kind in a row, until the member counts as healthy, or as unhealthy. */
  readonly successThreshold: number;
  readonly failureThreshold: number;
}

/** `host`: undefined is the member's own address. */
export type ProbeHandler =
  | {
      readonly kind: "http";
      readonly scheme: "HTTP" | "HTTPS";
      readonly host: string | undefined;
      readonly port: number;
      readonly path: string;
      readonly headers: readonly (readonly [name: string, value: string])[];
    }
  | { readonly kind: "tcp"; readonly host: string | undefined; readonly port: number }
  | { readonly kind: "grpc"; readonly port: number; readonly service: string }
  | { readonly kind: "exec"; readonly command: readonly string[] };
