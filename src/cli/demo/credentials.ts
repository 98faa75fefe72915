/** Certificates for those who attack: a real one of a mesh identity, and one of a CA that nobody trusts. */
import { join } from "node:path";
import { createCertificateClient } from "../../agent/certificate-client.ts";
import { exportKey } from "../../agent/issued-certificate.ts";
import { fixedToken } from "../../agent/token-source.ts";
import { systemClock } from "../../core/clock.ts";
import type { TlsMaterial } from "../../rpc/credentials.ts";
import { readControlPlaneFile } from "../../server/files.ts";
import { generateKey, spkiOf } from "../../x509/csr-builder.ts";
import { Issuer, makeRoot } from "../../x509/issuer.ts";
import { formatPem } from "../../x509/pem.ts";
import { Profile } from "../../x509/profile.ts";
import { callAdmin } from "../admin-client.ts";
import type { Stage } from "./stage.ts";

function stateOf(stage: Stage): string {
  return join(stage.folder, "state");
}

/** What the control plane gives to whoever proves `serviceAccount`, asked for as any agent does. */
export async function meshCredentials(stage: Stage, serviceAccount: string): Promise<TlsMaterial> {
  const [namespace = "", name = ""] = serviceAccount.split("/");
  const body = { namespace, name, audience: "istio-ca", ttlSeconds: 600 };
  const { token } = (await callAdmin(stage.mesh.adminSocket, "POST", "/v1/tokens", body)) as { readonly token: string };
  const { host, port, identity, trustDomain, rootCertificate } = readControlPlaneFile(stateOf(stage));
  const request = createCertificateClient({
    identity: `spiffe://${trustDomain}/ns/${namespace}/sa/${name}`,
    controlPlane: { address: host, port, identity },
    rootCertificateFile: rootCertificate,
    token: fixedToken(token),
    ttlSeconds: 600,
    clock: systemClock,
  });
  const answer = await request(undefined);
  if (answer.kind !== "issued") throw answer.error;
  const { privateKey, chain, roots } = answer.certificate;
  return { key: exportKey(privateKey), chain, roots };
}

const DAY_SECONDS = 86_400;

/** A certificate with any identity, by a CA made this moment. */
export function foreignCredentials(identity: string): TlsMaterial {
  const now = Date.now();
  const rootKey = generateKey();
  const root = makeRoot(rootKey, { organization: "nobody", now, backdateSeconds: 60 });
  const issuer = new Issuer(root, rootKey);
  const key = generateKey();
  const profile = Profile.from({ defaultTtlSeconds: DAY_SECONDS, maxTtlSeconds: DAY_SECONDS, backdateSeconds: 60, dnsNames: "refused" });
  const leaf = issuer.sign(issuer.prepare(profile, { spki: spkiOf(key), uri: identity, dnsNames: [], ttlSeconds: 0, now }));
  const chain = formatPem("CERTIFICATE", leaf.der);
  return { key: exportKey(key), chain, roots: formatPem("CERTIFICATE", root.der) };
}
