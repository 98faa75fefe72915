import { parsePkcs11Uri } from "../ca/pkcs11/uri.ts";
import { AppError } from "../core/error.ts";
import { formatSpiffeId, parseSpiffeId } from "../identity/spiffe-id.ts";
import { startControlPlane } from "../server/control-plane.ts";
import type { ControlPlaneOptions } from "../server/control-plane-options.ts";
import type { CaOptions } from "../server/open-ca.ts";
import type { ConfigurationOrigin } from "../server/source.ts";
import type { Command, ParsedArguments } from "./command.ts";
import { EXIT } from "./exit.ts";
import { givenCa } from "./given-ca.ts";
import { CA_KEY_KIND_OPTION, caKeyKindOf } from "./key-kind.ts";
import { createLogger } from "./log.ts";
import { SETTINGS_OPTIONS, settingsOf } from "./offline-mesh.ts";
import { jwksAllow, LOG_OPTION, logLevel, parseCount, parseHostPort, required, STATE_OPTION } from "./options.ts";
import { CLUSTER_PLACE_OPTIONS, clusterPlace } from "./serve-cluster.ts";
import { endRequest } from "./signals.ts";
import { trustedNodeAccounts } from "./trusted-node-accounts.ts";
import { version } from "./version.ts";

/** Only HTTP: whoever verifies a certificate may not need to verify another one for that. Throws `invalid-argument`. */
function crlUrl(text: string): string {
  const [before = "", ...after] = text.split("{authority}");
  if (after.length < 2 && /^http:\/\/[a-z0-9.-]+(?::\d{1,5})?\/[A-Za-z0-9._~/-]{0,400}$/.test(before + after.join(""))) return text;
  throw new AppError("invalid-argument", `\`${text.slice(0, 300)}\` is not an address for the list of revoked certificates`, {
    help: "write it as `http://crl.example.org/{authority}.crl`: verifiers fetch it without TLS, as it is signed",
  });
}

/** The flags of the list of revoked certificates. */
function plainFlags(parsed: ParsedArguments): Pick<ControlPlaneOptions, "crlListen" | "crlUrl" | "metricsListen"> {
  const [listen, url, metrics] = [parsed.value("crl-listen"), parsed.value("crl-url"), parsed.value("metrics-listen")];
  return {
    ...(metrics === undefined ? {} : { metricsListen: parseHostPort(metrics) }),
    ...(listen === undefined ? {} : { crlListen: parseHostPort(listen) }),
    ...(url === undefined ? {} : { crlUrl: crlUrl(url) }),
  };
}

/** Whose CA signs. Throws `invalid-argument`. */
function caOptions(parsed: ParsedArguments): CaOptions {
  const [folder, token, upstream] = [parsed.value("ca-folder"), parsed.value("ca-pkcs11"), parsed.value("ca-upstream")];
  const other = givenCa(parsed);
  if (parsed.value("ca-key-kind") !== undefined && other !== undefined)
    throw new AppError("invalid-argument", `\`--ca-key-kind\` is for keys that are made here, not for the CA of \`--${other}\``, {
      help: "its keys are made where they are; leave the option out",
    });
  return {
    ...caKeyKindOf(parsed),
    ...(folder === undefined ? {} : { folder }),
    ...(token === undefined ? {} : { token: parsePkcs11Uri(token) }),
    ...(upstream === undefined ? {} : { upstream }),
  };
}

/** Throws `invalid-argument`. */
function federationOptions(parsed: ParsedArguments): Pick<ControlPlaneOptions, "federation" | "bundleEndpoint"> {
  const [file, listen] = [parsed.value("federation"), parsed.value("bundle-endpoint")];
  const [certificate, key] = [parsed.value("bundle-endpoint-certificate"), parsed.value("bundle-endpoint-key")];
  if ((certificate === undefined) !== (key === undefined) || (certificate !== undefined && listen === undefined))
    throw new AppError("invalid-argument", "a bundle endpoint by a certificate of its own has an address, a certificate and a key", {
      help: "give `--bundle-endpoint`, `--bundle-endpoint-certificate` and `--bundle-endpoint-key`",
    });
  const files = certificate === undefined || key === undefined ? {} : { files: { certificate, key } };
  return {
    ...(file === undefined ? {} : { federation: file }),
    ...(listen === undefined ? {} : { bundleEndpoint: { listen: parseHostPort(listen), ...files } }),
  };
}

/** A folder, or a cluster. */
function configuration(parsed: ParsedArguments): ConfigurationOrigin {
  const file = parsed.value("kubeconfig");
  return parsed.flag("kubernetes") || file !== undefined
    ? { kind: "kubernetes", file }
    : { kind: "folder", folder: required(parsed, "config") };
}

/** Throws `invalid-argument`. */
function recordLimit(parsed: ParsedArguments): Pick<ControlPlaneOptions, "recordMaxBytes"> {
  const mebibytes = parsed.value("record-limit");
  return mebibytes === undefined ? {} : { recordMaxBytes: parseCount("record-limit", mebibytes, 16, 1_048_576) * 1_048_576 };
}

export const command: Command = {
  name: "serve",
  summary: "Runs the control plane: CA, policy compiler, xDS, and the record of decisions.",
  options: {
    config: { type: "value", value: "FOLDER", doc: "the folder of YAML; an edit takes effect at once", default: "mesh" },
    kubernetes: {
      type: "flag",
      doc: "take the configuration from a Kubernetes cluster, by KUBECONFIG, ~/.kube/config or the pod's own account",
    },
    kubeconfig: { type: "value", value: "FILE", doc: "the kubeconfig of that cluster" },
    state: STATE_OPTION,
    "ca-folder": {
      type: "value",
      value: "FOLDER",
      doc: "your own CA: ca-cert.pem, ca-key.pem, root-cert.pem and cert-chain.pem, or tls.crt, tls.key and ca.crt",
    },
    issuers: {
      type: "value",
      value: "FILE",
      doc: "issuers outside the mesh that vouch for workloads: OIDC, Kubernetes clusters, GCP and AWS instances; an edit takes effect at once",
    },
    "ca-pkcs11": {
      type: "value",
      value: "URI",
      doc: "the CA's key in a PKCS #11 token, such as an HSM (RFC 7512; the PIN is in the file that pin-source names); its certificates are those of --ca-folder, without a key, or a root that it signs for itself",
    },
    "ca-upstream": {
      type: "value",
      value: "FILE",
      doc: "another CA signs: Istio's certificate service or step-ca, as the file says; this control plane decides who gets what, and checks what comes back",
    },
    "ca-key-kind": CA_KEY_KIND_OPTION,
    "registration-authority": {
      type: "many",
      value: "SPIFFE-ID",
      doc: "another control plane, which may have certificates of every identity: it asks with `ImpersonatedIdentity`, as Istio's node proxies do",
    },
    "trusted-node-account": {
      type: "many",
      value: "NAMESPACE/NAME",
      doc: "the service account of node proxies, such as istio-system/ztunnel: each may have certificates of the service accounts whose pods run on its own node, by `ImpersonatedIdentity` and a token that is bound to its pod; or CA_TRUSTED_NODE_ACCOUNTS, by commas, as istiod takes it",
    },
    federation: {
      type: "value",
      value: "FILE",
      doc: "which other trust domains are trusted, and where their bundles are (SPIFFE Federation); an edit takes effect at once",
    },
    "bundle-endpoint": {
      type: "value",
      value: "HOST:PORT",
      doc: "serve this trust domain's bundle to others, by the control plane's own certificate (`https_spiffe`)",
    },
    "bundle-endpoint-certificate": {
      type: "value",
      value: "FILE",
      doc: "serve it by this certificate chain instead (PEM; `https_web`), read again when it changes",
    },
    "bundle-endpoint-key": { type: "value", value: "FILE", doc: "the private key of that certificate (PEM)" },
    listen: {
      type: "value",
      value: "HOST:PORT",
      doc: "where agents and proxies connect, by mutual TLS; `[::]:PORT` is every address, IPv4 too",
      default: "127.0.0.1:15012",
    },
    "crl-listen": {
      type: "value",
      value: "HOST:PORT",
      doc: "serve the signed lists of revoked certificates there, by plain HTTP: /KEY-ID.crl of each authority, /ca.crl of the one that signs",
    },
    "metrics-listen": {
      type: "value",
      value: "HOST:PORT",
      doc: "serve numbers for Prometheus there, by plain HTTP, at /metrics: no names and no secrets, for whoever reaches it",
    },
    "crl-url": {
      type: "value",
      value: "URL",
      doc: "write this address of the list into certificates, with the key identifier of their authority for `{authority}`: http://crl.example.org/{authority}.crl",
    },
    ...CLUSTER_PLACE_OPTIONS,
    "record-limit": {
      type: "value",
      value: "MIB",
      doc: "how much of the disk the record of decisions may take: then the oldest go. Without, 5 million decisions, some 1.6 GiB",
    },
    "vm-grace": {
      type: "value",
      value: "SECONDS",
      doc: "how long a machine that has joined a WorkloadGroup stays in the mesh while its agent is away",
      default: "30",
    },
    ...SETTINGS_OPTIONS,
    "jwks-allow": {
      type: "many",
      value: "CIDR",
      doc: "addresses that keys of tokens (also by HTTP) and bundles of `caCertificates` may be fetched from besides the public internet; or GARRISON_JWKS_ALLOW, by commas",
    },
    "log-level": LOG_OPTION,
  },
  examples: [
    "garrison serve --config examples/photo/mesh",
    "garrison serve --kubernetes --listen [::]:15012",
    "garrison serve --config mesh --ca-folder cacerts",
    "garrison serve --config mesh --trust-domain east.example --federation federation.yaml --bundle-endpoint 0.0.0.0:8443",
    "garrison serve --config mesh --issuers issuers.yaml",
    "garrison serve --config mesh --ca-pkcs11 'pkcs11:token=garrison;object=ca-key?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/garrison/pin'",
    "garrison serve --config mesh --listen 10.0.0.5:15012 --trust-domain example.org",
  ],
  run: async (parsed) => {
    const logger = createLogger(logLevel(parsed));
    const issuersFile = parsed.value("issuers");
    // Before anybody can know that it serves: from then on it ends well.
    const asked = endRequest();
    const ended = new AbortController();
    void asked.then(() => ended.abort());
    const config = configuration(parsed);
    const controlPlane = await startControlPlane({
      config,
      place: clusterPlace(parsed, config),
      signal: ended.signal,
      state: required(parsed, "state"),
      listen: parseHostPort(required(parsed, "listen")),
      ...settingsOf(parsed),
      version: version(),
      ...(issuersFile === undefined ? {} : { issuersFile }),
      ...plainFlags(parsed),
      ca: caOptions(parsed),
      ...federationOptions(parsed),
      ...recordLimit(parsed),
      registrationGraceMs: parseCount("vm-grace", required(parsed, "vm-grace"), 1, 86_400) * 1000,
      registrationAuthorities: parsed.values("registration-authority").map((text) => formatSpiffeId(parseSpiffeId(text))),
      trustedNodeAccounts: trustedNodeAccounts(parsed.values("trusted-node-account"), config.kind === "kubernetes"),
      jwksAllow: jwksAllow(parsed),
      logger,
    });
    logger.log("info", "control plane stopping", { because: await asked });
    await controlPlane.close();
    return EXIT.ok;
  },
};
