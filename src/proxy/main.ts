/** The proxy's process: certificate from the agent, policy from the control plane, records back to it. */
import type { PeerCertificate } from "node:tls";
import type { ChannelCredentials } from "@grpc/grpc-js";
import type { AuthorizationLayers, WorkloadPolicy } from "../compile/workload-policy.ts";
import { AppError, type ErrorCode } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { clientCredentials, unneeded } from "../rpc/credentials.ts";
import { AdsClient } from "../xds/client.ts";
import type { ProxyBootstrap } from "./bootstrap.ts";
import { Credentials } from "./credentials.ts";
import { DecisionReporter } from "./decision-reporter.ts";
import { namingFlaw } from "./dial.ts";
import { EmbeddedProxy } from "./embedded-proxy.ts";
import { PROXY_POLICY_TYPE, parsePolicyMessage } from "./policy-message.ts";
import { startReadyServer } from "./ready-server.ts";
import { SecretClient } from "./secret-client.ts";

export interface RunningProxy {
  /** Lets what is in flight finish for a few seconds, and ends. */
  stop(): Promise<void>;
}

/** The agent kills a proxy five seconds after it asked it to end. */
const GRACE_MS = 3_000;

function controlPlaneCredentials({ grpc }: Credentials, identity: string, isOver = () => false): ChannelCredentials {
  return clientCredentials(grpc, grpc, ({ raw }: PeerCertificate) => (isOver() ? unneeded() : namingFlaw(raw, [identity])));
}

/** What follows the first certificate: without one the control plane lets nobody in. */
function joinControlPlane({ workload, node, controlPlane }: ProxyBootstrap, credentials: Credentials, logger: Logger) {
  const address = `${controlPlane.address.includes(":") ? `[${controlPlane.address}]` : controlPlane.address}:${controlPlane.port}`;
  const { identity } = controlPlane;
  const channel = { address, node, logger };
  const reporter = new DecisionReporter({ ...channel, credentials: controlPlaneCredentials(credentials, identity) });
  const proxy = new EmbeddedProxy({ credentials, recorder: reporter, logger });
  const ads = new AdsClient({
    ...channel,
    credentials: (isOver) => controlPlaneCredentials(credentials, identity, isOver),
    typeUrl: PROXY_POLICY_TYPE,
    names: [workload],
    onResource: (_name, body) => applied(proxy, body, workload, logger),
    onRemoved: () => withdrawn(proxy, workload, logger),
  });
  return { proxy, reporter, ads };
}

const NOTHING: AuthorizationLayers = { audit: [], deny: [], allow: [] };

/** A workload that is gone from the mesh has no listener any more, as an Envoy would have none. */
function withdrawn(proxy: EmbeddedProxy, workload: string, logger: Logger): void {
  logger.log("warn", "the control plane knows this workload no longer: its listeners are closed", { workload });
  const nothing: WorkloadPolicy = {
    workload,
    address: "",
    identity: "",
    trustDomains: [],
    inbound: [],
    outbound: [],
    http: NOTHING,
    tcp: NOTHING,
  };
  void proxy
    .apply(nothing)
    .catch((thrown: unknown) => logger.log("error", "the listeners cannot be closed", { reason: AppError.from(thrown).message }));
}

/** Failures of listening; all but those listeners is in force then. */
const LISTENING: ReadonlySet<ErrorCode> = new Set(["address-in-use", "permission-denied", "unavailable"]);

async function applied(proxy: EmbeddedProxy, body: Uint8Array, workload: string, logger: Logger): Promise<void> {
  try {
    const { policy, secrets } = parsePolicyMessage(body, workload);
    await proxy.apply(policy, secrets);
  } catch (thrown) {
    const { code, message, help } = AppError.from(thrown);
    const what = LISTENING.has(code)
      ? "a listener cannot be opened, the rest of the policy is in force"
      : "the policy was refused, the last one stays in force";
    logger.log("error", what, { reason: message, help });
    throw thrown;
  }
}

/** Runs the embedded proxy until it is stopped. Throws `unavailable` when the readiness socket cannot be opened. */
export async function runProxy(bootstrap: ProxyBootstrap, logger: Logger): Promise<RunningProxy> {
  const { sdsSocket, readySocket, node } = bootstrap;
  const credentials = new Credentials();
  let joined: ReturnType<typeof joinControlPlane> | undefined;
  const waitingFor = (): string | undefined => {
    if (joined === undefined) return "waiting for a certificate from the agent";
    return joined.proxy.serving ? undefined : "waiting for a policy from the control plane";
  };
  const ready = await startReadyServer(readySocket, waitingFor);
  const unsubscribe = credentials.subscribe(() => {
    joined ??= joinControlPlane(bootstrap, credentials, logger);
  });
  const secrets = new SecretClient({ socket: sdsSocket, node, credentials, logger });
  return {
    async stop() {
      unsubscribe();
      secrets.stop();
      joined?.ads.close();
      await joined?.proxy.close(GRACE_MS);
      await joined?.reporter.stop();
      await ready.close();
    },
  };
}
