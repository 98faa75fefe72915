/** `garrison check`: every diagnostic there is, by a folder that has each of them once. */
import assert from "node:assert/strict";
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { DIAGNOSTICS, type Diagnostic, type DiagnosticCode, type Severity } from "../../src/core/diagnostic.ts";
import { FakeCa } from "../fakes/fake-ca.ts";
import { garrison, garrisonUnread } from "./garrison.ts";
import { allowPaths, meshFiles, OPEN_PATHS, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

const POLICY = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n";
const PEERS = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n";
const SERVICE = "apiVersion: v1\nkind: Service\n";
const ENTRY = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n";
const GATEWAY = "apiVersion: networking.istio.io/v1\nkind: Gateway\n";
const ROUTES = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n";

function workload(name: string, port: number, protocol: string): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${name}, namespace: shop }
spec: { address: 127.0.0.1, serviceAccount: client, labels: { app: ${name} } }
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: ${name}, namespace: shop }
spec:
  workloadSelector: { labels: { app: ${name} } }
  ingress: [{ port: { number: ${port}, protocol: ${protocol}, name: main }, defaultEndpoint: "127.0.0.1:20004" }]
`;
}

/** A workload that calls the host. */
function caller(name: string, port: number, host: string): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${name}, namespace: shop }
spec: { address: 127.0.0.1, serviceAccount: client, labels: { app: ${name} } }
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: ${name}, namespace: shop }
spec:
  workloadSelector: { labels: { app: ${name} } }
  egress: [{ port: { number: ${port}, protocol: HTTP, name: http }, hosts: ["${host}"] }]
`;
}

const RULE = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n";
const SERVICE_ENTRY = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n";

interface Mistake {
  /** The file that has it; a link that leads nowhere where it is undefined. */
  readonly text?: string;
  /** Where it must be seen. */
  readonly at: readonly [line: number, column: number];
  readonly told: RegExp;
}

/** Its mistake stands in the mesh's configuration, of which there is one: in the file of GAR0107. */
const IN_THE_MESH_CONFIG = { text: "# see GAR0107.yaml\n" } as const;

const CA = new FakeCa();
const LEAF = CA.material("spiffe://cluster.local/ns/shop/sa/client").chain;
const EXPIRED = new FakeCa("expired", Date.now() - 20 * 365 * 86_400_000).rootPem;
const ROOTS = `    caCertificates:\n${[LEAF, EXPIRED, CA.rootPem, CA.rootPem].map((pem) => `      - pem: ${JSON.stringify(pem)}\n`).join("")}`;

/** A workload with HTTP alone, and a policy whose one rule stands at line 20. */
function ruled(name: string, port: number, action: string, rule: string): string {
  return `${workload(name, port, "HTTP")}---
${POLICY}metadata: { name: ${name}, namespace: shop }
spec:
  action: ${action}
  selector: { matchLabels: { app: ${name} } }
  rules:
    - ${rule}
`;
}

/** In another namespace: the broken RequestAuthentication of this one is closed over all its workloads. */
function elsewhere(text: string): string {
  return text.replaceAll("namespace: shop", "namespace: default");
}

/** What no folder has: they are told of a cluster alone (`test/kube`). */
type OfClusters = "GAR0220" | "GAR0360" | "GAR0361" | "GAR0362" | "GAR0363" | "GAR0364";

/** One mistake for each code, in a file of its own. */
const MISTAKES = {
  GAR0001: { text: "kind: Service\nspec: {\n", at: [3, 1], told: /^the file is not YAML: / },
  GAR0002: { text: "apiVersion: v1\nkind: Deployment\nmetadata: { name: a }\n", at: [2, 7], told: /^kind `Deployment` is not supported$/ },
  GAR0003: {
    text: `${POLICY}metadata: { name: g3, namespace: shop }\nspec: { actoin: DENY }\n`,
    at: [4, 9],
    told: /^unknown field `spec\.actoin`$/,
  },
  GAR0004: {
    text: `${POLICY}metadata: { name: g4, namespace: shop }\nspec: { provider: { name: opa } }\n`,
    at: [4, 9],
    told: /^`spec\.provider` is not supported$/,
  },
  GAR0005: { text: `${SERVICE}metadata: { namespace: shop }\nspec: {}\n`, at: [3, 11], told: /^`metadata\.name` is missing$/ },
  GAR0006: { text: `${SERVICE}metadata: { name: g6, namespace: shop }\nspec: { ports: http }\n`, at: [4, 16], told: /`spec\.ports`/ },
  GAR0007: {
    text: `${PEERS}metadata: { name: g7, namespace: shop }\nspec: { mtls: { mode: SOMETIMES } }\n`,
    at: [4, 23],
    told: /`SOMETIMES`/,
  },
  GAR0008: {
    text: allowPaths(OPEN_PATHS),
    at: [1, 1],
    told: /^AuthorizationPolicy shop\/client-reads is defined twice: also at .*GAR0008\.yaml:1:1$/,
  },
  GAR0009: {
    text: `${POLICY}metadata: { name: g9, namespace: shop }\nspec:\n  rules:\n${"    - {}\n".repeat(513)}`,
    at: [6, 5],
    told: /`spec\.rules` has 513 entries, more than 512$/,
  },
  GAR0010: { at: [1, 1], told: /^the file cannot be read: it does not exist$/ },
  GAR0011: {
    text: `${POLICY}metadata: { name: g11, namespace: shop }\nspec: { selector: {}, action: AUDIT }\n`,
    at: [4, 19],
    told: /^`spec\.selector`/,
  },
  GAR0012: {
    text: `apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: { name: g12, namespace: shop }\nspec: { jwtRules: [{ issuer: a, jwks: '{"keys": [{"kty": "oct"}]}' }] }\n`,
    at: [4, 39],
    told: /^`spec\.jwtRules\[0\]\.jwks`: keys\[0\] is symmetric, and so a secret$/,
  },
  GAR0013: {
    text: `${RULE}metadata: { name: g13, namespace: shop }\nspec: { host: server, subsets: [] }\n`,
    at: [4, 23],
    told: /^`spec\.subsets` is not in force$/,
  },
  GAR0014: {
    text: "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: istio-canary, namespace: istio-system }\ndata:\n  mesh: '{}'\n",
    at: [1, 1],
    told: /^ConfigMap `istio-canary` is not used by Garrison$/,
  },
  GAR0015: {
    text: "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: istio, namespace: shop }\ndata:\n  mesh: |\n    enableAutoMtls: false\n",
    at: [6, 21],
    told: /^`enableAutoMtls` is false: proxies call each other in plaintext$/,
  },
  GAR0101: {
    text: `${SERVICE}metadata: { name: g101, namespace: shop }\nspec: { selector: { app: nobody }, ports: [{ port: 80 }] }\n`,
    at: [1, 1],
    told: /^service `shop\/g101` selects no workload: calls to it fail$/,
  },
  GAR0102: {
    text: `${ENTRY}metadata: { name: g102, namespace: shop }\nspec: { address: 127.0.0.1, serviceAccount: g102 }\n`,
    at: [1, 1],
    told: /^WorkloadEntry `shop\/g102` runs as service account `shop\/g102`, which does not exist$/,
  },
  GAR0103: {
    text: `${POLICY}metadata: { name: g103, namespace: shop }\nspec: { selector: { matchLabels: { app: nobody } } }\n`,
    at: [1, 1],
    told: /^the selector of AuthorizationPolicy `shop\/g103` selects no workload$/,
  },
  GAR0104: {
    text: `${workload("g104", 20_006, "HTTP")}---\n${workload("other", 20_006, "HTTP")}`,
    at: [13, 1],
    told: /^workloads `shop\/g104` and `shop\/other` both listen on 127\.0\.0\.1:20006$/,
  },
  GAR0105: {
    text: `${workload("g105", 20_007, "HTTP")}---\n${SERVICE}metadata: { name: g105, namespace: shop }\nspec: { selector: { app: g105 }, ports: [{ port: 80, targetPort: 20009 }] }\n`,
    at: [1, 1],
    told: /^service `shop\/g105` leads to port 20009 of workload `shop\/g105`, where no listener is$/,
  },
  GAR0106: {
    text: `${PEERS}metadata: { name: g106, namespace: istio-system }\nspec: { selector: { matchLabels: { app: client } }, mtls: { mode: STRICT } }\n`,
    at: [1, 1],
    told: /^PeerAuthentication `g106` has a selector in the root namespace, where it is ignored$/,
  },
  GAR0107: {
    text:
      "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: istio, namespace: istio-system }\ndata:\n  mesh: |\n    trustDomain: example.org\n" +
      ROOTS,
    at: [1, 1],
    told: /^`trustDomain` would be `example\.org`, and is `cluster\.local`$/,
  },
  GAR0201: {
    text: `${workload("tcp", 20_005, "TCP")}---\n${POLICY}metadata: { name: g201, namespace: shop }\nspec: { action: DENY, selector: { matchLabels: { app: tcp } }, rules: [{ to: [{ operation: { methods: [GET], ports: ["20005"] } }] }] }\n`,
    at: [16, 72],
    told: /^DENY rule `shop\/g201\[0\]` has HTTP fields, which fall away on TCP ports: it denies every connection to shop\/tcp:20005$/,
  },
  GAR0202: {
    text: ruled("g202", 20_020, "ALLOW", "to: [{ operation: { notPaths: [/admin] } }]"),
    at: [20, 7],
    told: /^ALLOW rule `shop\/g202\[0\]` excludes paths by `notPaths`, and so allows the path `\/ADMIN`, `\/admin;x=1`, `\/\/admin`, `\/admin\/`$/,
  },
  GAR0203: {
    text: ruled("g203", 20_021, "DENY", "to: [{ operation: { hosts: [a.example] } }]"),
    at: [20, 7],
    told: /^DENY rule `shop\/g203\[0\]` does not match the host `a\.example:80`, `a\.example\.`, which an application may take/,
  },
  GAR0204: {
    text: elsewhere(
      `${ruled("g204", 20_022, "DENY", 'from: [{ source: { namespaces: ["evil"] } }]')}---\n${PEERS}metadata: { name: g204, namespace: shop }\nspec: { selector: { matchLabels: { app: g204 } }, mtls: { mode: PERMISSIVE } }\n`,
    ),
    at: [20, 7],
    told: /^DENY rule `default\/g204\[0\]` asks for the peer's identity, and the mode is PERMISSIVE at default\/g204:20022: callers in plaintext have no identity there, and it does not deny them$/,
  },
  GAR0205: {
    text: elsewhere(ruled("g205", 20_023, "ALLOW", 'from: [{ source: { requestPrincipals: ["*"] } }]')),
    at: [20, 7],
    told: /^ALLOW rule `default\/g205\[0\]` asks for a token, and no RequestAuthentication selects default\/g205: nobody's token counts there, and it never allows them$/,
  },
  GAR0206: {
    text: elsewhere(
      `${workload("g206", 20_024, "HTTP")}---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: { name: g206, namespace: shop }\nspec: { selector: { matchLabels: { app: g206 } }, jwtRules: [{ issuer: "https://a.example" }] }\n`,
    ),
    at: [13, 1],
    told: /^RequestAuthentication `default\/g206` does not require a token, and no rule asks for one: requests without any pass at default\/g206$/,
  },
  GAR0207: {
    text: ruled("g207", 20_025, "DENY", "to: [{ operation: { methods: [get], paths: [admin] } }]"),
    at: [20, 7],
    told: /^DENY rule `shop\/g207\[0\]` has `get` in `methods`, which never matches what is meant: methods are compared letter by letter, and clients write them in capitals$/,
  },
  GAR0208: {
    text: ruled("g208", 20_026, "ALLOW", 'from: [{ source: { principals: ["cluster.local/ns/shop/sa/clinet"] } }]'),
    at: [20, 7],
    told: /^ALLOW rule `shop\/g208\[0\]` has `cluster\.local\/ns\/shop\/sa\/clinet` in `principals`, which matches nobody: /,
  },
  GAR0209: {
    text: ruled("g209", 20_027, "DENY", 'from: [{ source: { ipBlocks: ["10.1.2.3/16"] } }]'),
    at: [20, 7],
    told: /^DENY rule `shop\/g209\[0\]` has `10\.1\.2\.3\/16` in `ipBlocks`, which stands for all of `10\.1\.0\.0\/16`$/,
  },
  GAR0210: {
    text: `${ruled("g210", 20_028, "DENY", 'to: [{ operation: { ports: ["80"] } }]')}---\n${SERVICE}metadata: { name: g210, namespace: shop }\nspec: { selector: { app: g210 }, ports: [{ name: http, port: 80, targetPort: 20028 }] }\n`,
    at: [20, 7],
    told: /^DENY rule `shop\/g210\[0\]` names port 80 in vain: it is the port of service `shop\/g210`, which leads to port 20028 of the workload$/,
  },
  GAR0211: {
    text: `${ENTRY}metadata: { name: g211, namespace: shop }\nspec: { address: 127.0.0.1, serviceAccount: client, labels: { app: g211 } }\n---\n${POLICY}metadata: { name: g211, namespace: shop }\nspec: { selector: { matchLabels: { app: g211 } }, rules: [{}] }\n`,
    at: [9, 59],
    told: /^ALLOW rule `shop\/g211\[0\]` holds nowhere: nothing listens at shop\/g211$/,
  },
  GAR0212: {
    text: ruled("g212", 20_029, "DENY", 'to: [{ operation: { paths: [/admin], notPaths: ["/a*"] } }]'),
    at: [20, 7],
    told: /^an operation of DENY rule `shop\/g212\[0\]` never matches: `notPaths` excludes all that `paths` names$/,
  },
  GAR0213: {
    text: `${PEERS}metadata: { name: g213, namespace: default }\nspec: { mtls: { mode: STRICT } }\n---\n${PEERS}metadata: { name: g213-too, namespace: default }\nspec: { mtls: { mode: PERMISSIVE } }\n`,
    at: [6, 1],
    told: /^PeerAuthentication `default\/g213-too` is ignored: `default\/g213` is for the same, and comes first$/,
  },
  GAR0214: {
    text: elsewhere(
      `${workload("g214", 20_030, "HTTP")}---\n${PEERS}metadata: { name: g214, namespace: shop }\nspec: { selector: { matchLabels: { app: g214 } }, portLevelMtls: { 80: { mode: DISABLE } } }\n`,
    ),
    at: [13, 1],
    told: /^`portLevelMtls` of PeerAuthentication `default\/g214` names port 80 in vain: nothing listens there$/,
  },
  GAR0215: {
    text: `${POLICY}metadata: { name: g215, namespace: moon }\nspec: {}\n`,
    at: [1, 1],
    told: /^AuthorizationPolicy `g215` is in namespace `moon`, where nobody is: /,
  },
  GAR0216: {
    text: "replicas: 3\nimage: shop\n",
    at: [1, 1],
    told: /^the document is no object: it has none of `apiVersion`, `kind`, `metadata` and `spec`$/,
  },
  GAR0218: {
    text: `${POLICY}metadata:\n  name: g218\n  namespace: shop\n  annotations:\n    istio.io/dry_run: "true"\nspec:\n  rules: []\n`,
    at: [7, 5],
    told: /^the annotation `istio\.io\/dry_run` is not known, and has no effect$/,
  },
  GAR0219: {
    text: `${POLICY}metadata: { name: g219, namespace: shop }\nspec:\n  rules:\n    - from: [{ source: { ipBlocks: [10.0.0.0/8] } }]\n      when:\n        - { key: source.ip, values: [192.0.2.7] }\n`,
    at: [6, 7],
    told: /^a source of ALLOW rule `shop\/g219\[0\]` never matches: `ipBlocks` must be `10\.0\.0\.0\/8`, and `192\.0\.2\.7` too$/,
  },
  GAR0223: {
    text: `apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: { name: g223, namespace: default }\nspec: { selector: { matchLabels: { app: g223 } }, jwtRules: [{ issuer: "https://a.example" }, { jwksUri: "https://b.example/keys" }] }\n`,
    at: [1, 1],
    told: /^`jwtRules\[1\]` of RequestAuthentication `default\/g223` names no `issuer`: whatever a token says of its issuer counts, if the rule's keys have signed it$/,
  },
  GAR0224: {
    text: `apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: { name: g224, namespace: default }\nspec: { selector: { matchLabels: { app: g224 } }, jwtRules: [{ issuer: "https://a.example", jwksUri: "https://10.1.2.3/keys" }] }\n`,
    at: [1, 1],
    told: /^the keys of `jwtRules\[0\]` of RequestAuthentication `default\/g224` are not fetched: the address `10\.1\.2\.3` is not on the public internet$/,
  },
  GAR0230: {
    text: `apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: { name: g230, namespace: shop }\nspec:\n  workloadSelector: { labels: { app: g230 } }\n  egress:\n    - hosts: ["./*"]\n---\n${ENTRY}metadata: { name: g230, namespace: shop }\nspec: { address: 10.9.9.30, serviceAccount: client, labels: { app: g230 } }\n`,
    at: [7, 7],
    told: /^an egress listener without a `port` catches captured traffic alone: it is nothing to workloads that are not captured$/,
  },
  GAR0231: {
    text: `${ENTRY}metadata: { name: g231, namespace: shop, annotations: { sidecar.istio.io/interceptionMode: REDIRECT } }\nspec: { address: 127.0.0.1, serviceAccount: client }\n`,
    at: [1, 1],
    told: /^workload `shop\/g231` cannot be captured: its address is 127\.0\.0\.1$/,
  },
  GAR0232: {
    text: `${ENTRY}metadata: { name: g232, namespace: shop, annotations: { sidecar.istio.io/interceptionMode: REDIRECT } }\nspec: { address: 10.9.9.32, serviceAccount: client, labels: { app: g232 } }\n---\napiVersion: v1\nkind: Service\nmetadata: { name: g232a, namespace: shop }\nspec: { clusterIP: 10.96.2.32, selector: { app: g232 }, ports: [{ port: 80 }] }\n---\napiVersion: v1\nkind: Service\nmetadata: { name: g232b, namespace: shop }\nspec: { clusterIP: 10.96.2.32, selector: { app: g232 }, ports: [{ port: 80 }] }\n`,
    at: [11, 1],
    told: /^captured traffic to 10\.96\.2\.32:80 is for `shop\/g232a`, and so never for `shop\/g232b`$/,
  },
  GAR0233: {
    text: `${ENTRY}metadata: { name: g233, namespace: shop, annotations: { sidecar.istio.io/interceptionMode: REDIRECT } }\nspec: { address: 10.9.9.33, serviceAccount: client, labels: { app: g233 } }\n---\n${SERVICE}metadata: { name: g233, namespace: shop }\nspec: { clusterIP: 10.96.2.33, selector: { app: g233 }, ports: [{ name: mysql, port: 3306 }] }\n---\n${PEERS}metadata: { name: g233, namespace: shop }\nspec: { selector: { matchLabels: { app: g233 } }, mtls: { mode: PERMISSIVE } }\n`,
    at: [9, 65],
    told: /^at port 3306 of service `shop\/g233` the server speaks first: /,
  },
  GAR0301: {
    text: `${ENTRY}metadata: { name: g301, namespace: shop }\nspec: { address: 127.0.0.1, serviceAccount: client, labels: { app: g301 } }\n---\n${GATEWAY}metadata: { name: g301, namespace: shop }\nspec: { selector: { app: g301 }, servers: [{ port: { number: 20099, protocol: HTTP }, hosts: [a.example.org] }] }\n---\n${ROUTES}metadata: { name: g301, namespace: shop }\nspec: { hosts: [b.example.org], gateways: [g301], http: [{ route: [{ destination: { host: server } }] }] }\n`,
    at: [11, 1],
    told: /^VirtualService `shop\/g301` has no host that its Gateways serve$/,
  },
  GAR0320: { ...IN_THE_MESH_CONFIG, at: [8, 9], told: /^`caCertificates\[0\]` cannot be used: a certificate is not a CA's$/ },
  GAR0321: { ...IN_THE_MESH_CONFIG, at: [9, 9], told: /^a root of `caCertificates\[1\]` has expired \(.*\): nobody is verified by it$/ },
  GAR0322: {
    ...IN_THE_MESH_CONFIG,
    at: [11, 9],
    told: /^a root of `caCertificates\[3\]` is there already, in `caCertificates\[2\]`$/,
  },
  GAR0340: {
    text: `${ENTRY}metadata:\n  name: g340\n  namespace: shop\n  annotations:\n    proxy.istio.io/config: |\n      proxyMetadata: { ISTIO_META_DNS_CAPTURE: "true" }\nspec: { address: 10.9.9.40, serviceAccount: client }\n`,
    at: [1, 1],
    told: /^workload `shop\/g340` says `ISTIO_META_DNS_CAPTURE`, and its traffic is not captured: its agent answers no DNS$/,
  },
  GAR0401: {
    text: `${RULE}metadata: { name: g401, namespace: shop }\nspec: { host: nobody }\n`,
    at: [1, 1],
    told: /^DestinationRule `shop\/g401` is for `nobody\.shop\.svc\.cluster\.local`, and no Service or ServiceEntry has that host$/,
  },
  GAR0402: {
    text: `${RULE}metadata: { name: g402, namespace: shop }\nspec: { host: server, workloadSelector: { matchLabels: { app: g402 } }, trafficPolicy: { tls: { mode: DISABLE } } }\n`,
    at: [1, 1],
    told: /^DestinationRule `shop\/g402` says mode DISABLE for `shop\/server`, whose ports take only mutual TLS .*: shop\/server:20001$/,
  },
  GAR0403: {
    text: `${RULE}metadata: { name: g403, namespace: shop }\nspec: { host: g403.example.com, trafficPolicy: { tls: { mode: SIMPLE, insecureSkipVerify: true } } }\n---\n${SERVICE_ENTRY}metadata: { name: g403, namespace: shop }\nspec: { hosts: [g403.example.com], resolution: DNS, ports: [{ number: 80, name: http }] }\n`,
    at: [1, 1],
    told: /^DestinationRule `shop\/g403` says `insecureSkipVerify`: whoever answers is taken for `shop\/g403\.example\.com`$/,
  },
  GAR0404: {
    text: `${SERVICE_ENTRY}metadata: { name: g404, namespace: shop }\nspec: { hosts: [g404.internal], location: MESH_INTERNAL, resolution: STATIC, ports: [{ number: 80, name: http }], endpoints: [{ address: 10.1.2.3 }] }\n`,
    at: [1, 1],
    told: /^service `shop\/g404\.internal` has endpoints of which nothing says who runs there, and which are not used: 10\.1\.2\.3:80$/,
  },
  GAR0405: {
    text: `${RULE}metadata: { name: g405, namespace: default }\nspec: { host: g405.example.com, trafficPolicy: { tls: { mode: MUTUAL, clientCertificate: /etc/shop/a.pem, privateKey: /etc/shop/a.key } } }\n---\n${SERVICE_ENTRY}metadata: { name: g405, namespace: default }\nspec: { hosts: [g405.example.com], resolution: DNS, ports: [{ number: 80, name: http }] }\n---\n${caller("g405", 20_013, "default/g405.example.com")}`,
    at: [1, 1],
    told: /^DestinationRule `default\/g405` names a private key for clients of namespace `shop`, which do not use `default\/g405\.example\.com` so$/,
  },
} as const satisfies Readonly<Record<Exclude<DiagnosticCode, OfClusters>, Mistake>>;

const CODES = Object.keys(MISTAKES) as readonly (keyof typeof MISTAKES)[];

/** A folder with the mesh and these mistakes. */
function placeWith(scope: ConstructorParameters<typeof Place>[0], codes: readonly (keyof typeof MISTAKES)[]): Place {
  const place = new Place(scope, meshFiles(UNUSED_PORTS));
  for (const code of codes) {
    const mistake: Mistake = MISTAKES[code];
    if (mistake.text === undefined) symlinkSync("nowhere", join(place.config, `${code}.yaml`));
    else place.write(`${code}.yaml`, mistake.text);
  }
  return place;
}

type Line = Diagnostic & { readonly severity: Severity };

describe("garrison check", { timeout: 60_000 }, () => {
  test("ends quietly, with what it found, when its reader is gone", async (t) => {
    const place = placeWith(t, CODES);
    assert.deepEqual(await garrisonUnread(["check", place.config, "--json"]), { exit: 1, stderr: "" });
  });

  test("tells each kind of mistake with its file, line, column, severity and code", async (t) => {
    const place = placeWith(t, CODES);
    const { exit, stdout } = await garrison(["check", place.config, "--json", "--trust-domain", "cluster.local"]);
    assert.equal(exit, 1);
    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Line);
    for (const code of CODES) {
      const { at, told }: Mistake = MISTAKES[code];
      // One mistake may bring another with it: what its own file has comes first.
      const isOwn = ({ place: { file } }: Line): boolean => file.endsWith(`${code}.yaml`);
      const found = lines.filter((line) => line.code === code).sort((left, right) => Number(isOwn(right)) - Number(isOwn(left)));
      const text = found.map(({ place: { file, line, column }, message }) => `${file}:${line}:${column} ${message}`).join("\n");
      const [first] = found;
      assert.match(first?.message ?? "", told, `${code}:\n${text}`);
      assert.deepEqual([first?.place.line, first?.place.column], at, text);
      assert.equal(first?.severity, DIAGNOSTICS[code].severity);
    }
    assert.deepEqual(
      lines.filter(({ place: { file } }) => !/GAR\d{4}\.yaml$/.test(file)).map(({ code }) => code),
      ["GAR0008"],
    );
  });

  test("prints them for people, counts them, and ends with 1", async (t) => {
    const place = placeWith(t, ["GAR0003", "GAR0101"]);
    const { exit, stdout, stderr } = await garrison(["check", "mesh"], { cwd: place.folder });
    assert.equal(
      stdout,
      [
        "mesh/GAR0003.yaml:4:9: error GAR0003: unknown field `spec.actoin`",
        "  help: did you mean `action`?; until then it is closed: it allows nothing, and what no other policy allows is denied",
        "mesh/GAR0101.yaml:1:1: warning GAR0101: service `shop/g101` selects no workload: calls to it fail",
        "  help: its selector must match the labels of a workload in the same namespace",
        "2 workloads, 2 services, 3 policies: 1 error, 1 warning",
        "",
      ].join("\n"),
    );
    assert.deepEqual({ exit, stderr }, { exit: 1, stderr: "" });
  });

  test("ends with 0 where there are warnings only, and where there is nothing to say", async (t) => {
    const warned = await garrison(["check", placeWith(t, ["GAR0101"]).config]);
    assert.deepEqual(
      [warned.exit, warned.stdout.trim().split("\n").at(-1)],
      [0, "2 workloads, 2 services, 2 policies: 0 errors, 1 warning"],
    );
    const good = await garrison(["check", placeWith(t, []).config]);
    assert.deepEqual(good, { exit: 0, stdout: "2 workloads, 1 service, 2 policies: 0 errors, 0 warnings\n", stderr: "" });
  });
});
