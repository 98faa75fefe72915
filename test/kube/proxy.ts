/** A proxy as a control plane sees it: an ADS stream that accepts whatever it is sent. */
import { readFileSync } from "node:fs";
import { silentLogger } from "../../src/core/logger.ts";
import { clientCredentials, RotatingTlsMaterial, type TlsMaterial } from "../../src/rpc/credentials.ts";
import type { ControlPlaneFile } from "../../src/server/files.ts";
import { AdsClient } from "../../src/xds/client.ts";
import type { Scope } from "../feature/garrison.ts";

/** Connects as the proxy of `workload`, and again whenever its stream ends; gone with `scope`. */
export function connectProxy(
  scope: Scope,
  { host, port, rootCertificate }: ControlPlaneFile,
  workload: string,
  material: TlsMaterial,
): { close(): void } {
  const [namespace = "", name = ""] = workload.split("/");
  const roots = new RotatingTlsMaterial({ key: "", chain: "", roots: readFileSync(rootCertificate, "utf8") });
  const client = new AdsClient({
    address: `${host}:${port}`,
    credentials: () => clientCredentials(roots, new RotatingTlsMaterial(material), () => undefined),
    node: { id: `test~${workload}`, cluster: "test", metadata: { NAMESPACE: namespace, WORKLOAD_NAME: name, GARRISON_PROXY: "embedded" } },
    typeUrl: "type.googleapis.com/garrison.v1.ProxyPolicy",
    names: [workload],
    onResource: () => undefined,
    onRemoved: () => undefined,
    logger: silentLogger,
  });
  scope.after(() => client.close());
  return client;
}
