/** The annotation `proxy.istio.io/config` of a pod: the one thing on a pod that people write for its proxy. */
import { type Diagnostic, type Place, severityOf } from "../../core/diagnostic.ts";
import { Recent } from "../../core/recent.ts";
import { PROXY_CONFIG } from "../../policy/decode/embedded-yaml.ts";
import { annotatedProxyConfig } from "../../policy/decode/proxy-config.ts";
import { Report } from "../../policy/decode/report.ts";
import type { ProxyConfig } from "../../policy/mesh-config.ts";
import type { PodObject } from "../../policy/model.ts";
import { objectTree } from "./object-tree.ts";

/** Whatever the mesh says: an annotation that cannot be read may have meant less trust, and fewer words. */
const TRUSTS_NOBODY: ProxyConfig = { numTrustedProxies: 0, tellsDenials: false };

interface Said {
  readonly proxyConfig: ProxyConfig | undefined;
  readonly diagnostics: readonly Diagnostic[];
}

/** By the annotation's text: pods change often, and what is written on them seldom. */
const known = new Recent<string, Said>(4_096);
const NOWHERE: Place = { file: "", line: 0, column: 0 };

/** Fields without effect are not told: every pod of a mesh may have them. */
function read(text: string): Said {
  const report = new Report();
  const node = objectTree({ metadata: { annotations: { [PROXY_CONFIG]: text } } }, NOWHERE);
  const proxyConfig = annotatedProxyConfig({ node, path: "", report });
  const diagnostics = report.diagnostics.filter((each) => severityOf(each) === "error");
  return { proxyConfig: diagnostics.length > 0 ? TRUSTS_NOBODY : proxyConfig, diagnostics };
}

/** The pod with what its annotation says, and what is wrong with that. */
export function withProxyConfig(pod: PodObject, place: Place): { readonly pod: PodObject; readonly diagnostics: readonly Diagnostic[] } {
  const text = pod.meta.annotations.get(PROXY_CONFIG);
  if (text === undefined) return { pod, diagnostics: [] };
  const said = known.get(text) ?? read(text);
  known.set(text, said);
  const { proxyConfig } = said;
  const diagnostics = said.diagnostics.map((each) => ({ ...each, place }));
  return { pod: proxyConfig === undefined ? pod : { ...pod, proxyConfig }, diagnostics };
}
