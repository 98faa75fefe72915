import type { Resource } from "./resource.ts";

/** What one response carries. */
export interface Push {
  readonly resources: readonly Resource[];
  readonly removed: readonly string[];
  /** Of the resources, those of which the client has another version or none. */
  readonly news: readonly string[];
}

/** What a client said of a response. */
export interface Answer {
  readonly version: string;
  readonly names: readonly string[];
  /** The client's error; undefined for an ACK. */
  readonly message: string | undefined;
  readonly latencyMs: number;
  /** A refusal in the same words as the one before. */
  readonly repeated: boolean;
  /** Something that was refused before is not any more. */
  readonly recovered: boolean;
}
