/** What a control plane does in a cluster besides reading it and serving proxies. */
import type { Authority } from "../ca/authority.ts";
import type { Logger } from "../core/logger.ts";
import type { RotatingTlsMaterial } from "../rpc/credentials.ts";
import { WebhookBundles } from "../sources/kubernetes/webhook-bundles.ts";
import type { OpenedCluster } from "./source.ts";
import { validate } from "./webhook/validate.ts";
import { type AdmissionHandlers, serveWebhooks } from "./webhook/webhook-server.ts";

/** How a control plane stands in its cluster. */
export interface ClusterPlace {
  /** The Service in front of it, whose name its certificate carries. */
  readonly service: { readonly namespace: string; readonly name: string };
  /** Where the API server has objects looked at; undefined: nowhere. */
  readonly webhooks: { readonly host: string; readonly port: number } | undefined;
}

export const DEFAULT_CLUSTER_PLACE: ClusterPlace = { service: { namespace: "garrison-system", name: "garrison" }, webhooks: undefined };

export interface ClusterDutiesOptions {
  readonly cluster: OpenedCluster;
  readonly place: ClusterPlace;
  readonly authority: Authority;
  readonly material: RotatingTlsMaterial;
  readonly logger: Logger;
}

export interface ClusterDuties {
  close(): Promise<void>;
}

/** The name of our webhook configurations (deploy/kubernetes/webhooks.yaml). */
const WEBHOOKS = "garrison";

/** What is served to the API server, by the path of its webhook configuration. */
const HANDLERS: AdmissionHandlers = { "/validate": validate };

/** By these names the API server knows the control plane. */
export function serviceNames({ service: { namespace, name } }: ClusterPlace): readonly string[] {
  return [`${name}.${namespace}.svc`];
}

async function startWebhooks(options: ClusterDutiesOptions, listen: { readonly host: string; readonly port: number }) {
  const { authority, material, logger, cluster } = options;
  const server = await serveWebhooks({ listen, material, handlers: HANDLERS, logger });
  logger.log("info", "webhooks served", { listen: `${listen.host}:${server.port}` });
  const bundles = new WebhookBundles({ api: cluster.api, logger, name: WEBHOOKS, roots: () => authority.rootsPem, mayWrite: () => true });
  authority.onChange(() => bundles.refresh());
  return async (): Promise<void> => {
    await bundles.close();
    await server.close();
  };
}

/** Starts them. Throws `unavailable` where the webhooks cannot listen. */
export async function startClusterDuties(options: ClusterDutiesOptions): Promise<ClusterDuties> {
  const { webhooks } = options.place;
  const stop = webhooks === undefined ? undefined : await startWebhooks(options, webhooks);
  return {
    close: async () => {
      await stop?.();
    },
  };
}
