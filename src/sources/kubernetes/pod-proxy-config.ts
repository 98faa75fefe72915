/** The annotation `proxy.istio.io/config` of a pod: the one thing on a pod that people write for its proxy. */
import { type Diagnostic, type Place, severityOf } from "../../core/diagnostic.ts";
import { annotatedProxyConfig } from "../../policy/decode/proxy-config.ts";
import { Report } from "../../policy/decode/report.ts";
import type { ProxyConfig } from "../../policy/mesh-config.ts";
import type { PodObject } from "../../policy/model.ts";
import { objectTree } from "./object-tree.ts";

/** Whatever the mesh says: an annotation that cannot be read may have meant less trust, and fewer words. */
const TRUSTS_NOBODY: ProxyConfig = { numTrustedProxies: 0, tellsDenials: false };

/** The pod with what its annotation says, and what is wrong with that. Fields without effect are not told: every pod of a mesh may have them. */
export function withProxyConfig(pod: PodObject, place: Place): { readonly pod: PodObject; readonly diagnostics: readonly Diagnostic[] } {
  const report = new Report();
  const node = objectTree({ metadata: { annotations: Object.fromEntries(pod.meta.annotations) } }, place);
  const proxyConfig = annotatedProxyConfig({ node, path: "", report });
  const diagnostics = report.diagnostics.filter((each) => severityOf(each) === "error");
  if (diagnostics.length > 0) return { pod: { ...pod, proxyConfig: TRUSTS_NOBODY }, diagnostics };
  return { pod: proxyConfig === undefined ? pod : { ...pod, proxyConfig }, diagnostics };
}
