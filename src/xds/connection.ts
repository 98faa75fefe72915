/** What the control plane knows of a proxy that is connected. */

/** Whether the client runs the newest state: not yet answered, all of it accepted, or some of it refused. */
export type AckState = "pending" | "acked" | "rejected";

export interface TypeStatus {
  readonly typeUrl: string;
  readonly state: AckState;
  /** Resources of this type that the client holds or was sent. */
  readonly resources: number;
  /** Times are milliseconds since the Unix epoch. */
  readonly sent: { readonly version: string; readonly nonce: string; readonly at: number } | undefined;
  readonly acked: { readonly version: string; readonly at: number } | undefined;
  readonly nacked:
    | { readonly version: string; readonly message: string; readonly names: readonly string[]; readonly at: number }
    | undefined;
  /** Names whose newest version the client refused; it keeps its last good one. */
  readonly rejected: readonly string[];
}

export interface ResourceName {
  readonly typeUrl: string;
  readonly name: string;
}

export interface XdsConnection {
  readonly key: string;
  readonly variant: "delta" | "sotw";
  readonly nodeId: string;
  /** Name and version as the client states them, or empty. */
  readonly userAgent: string;
  /** The client's address as gRPC prints it. */
  readonly address: string;
  readonly connectedAt: number;
  /** When the identity that opened the stream ends. */
  readonly expiresAt: number | undefined;
  /**
   * `acked` only when the client runs every resource of its set, those included for which it has not asked yet, and when the set is the
   * newest: one that may have to be replaced is `pending`.
   */
  readonly state: AckState;
  /** Resources of the client's set whose newest version it did not say that it runs. */
  readonly behind: readonly ResourceName[];
  readonly types: readonly TypeStatus[];
  /** The version of a resource that this client said it runs: what is enforced there, as against what was sent. */
  accepted(typeUrl: string, name: string): string | undefined;
}

/** Reported as it happens. Texts that clients wrote are cut to a bound. */
export type XdsEvent =
  | { readonly kind: "connected" | "disconnected"; readonly key: string; readonly connection: XdsConnection }
  | {
      readonly kind: "ack";
      readonly key: string;
      readonly connection: XdsConnection;
      readonly typeUrl: string;
      readonly version: string;
      readonly latencyMs: number;
    }
  | {
      readonly kind: "nack";
      readonly key: string;
      readonly connection: XdsConnection;
      readonly typeUrl: string;
      readonly version: string;
      /** The resources of the refused response. */
      readonly names: readonly string[];
      readonly message: string;
      readonly latencyMs: number;
    };
