/**
 * Certificates a second on one thread, from the PEM request to the PEM certificate with everything that issuing takes (parse,
 * proof of possession, ledger and log on disk, signature, check), for 64 callers at a time, against the two P-256 operations that no CA can do without: one verify and one sign.
 */
import { createPublicKey, sign, verify } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openAuthority } from "../src/ca/authority.ts";
import { systemClock } from "../src/core/clock.ts";
import { silentLogger } from "../src/core/logger.ts";
import { formatSpiffeId } from "../src/identity/spiffe-id.ts";
import { DEFAULT_TRUST_DOMAIN } from "../src/identity/trust-domain.ts";
import { buildCsr, generateKey } from "../src/x509/csr-builder.ts";
import { compare } from "./harness.ts";

const REQUESTS = 256;
const stateFolder = mkdtempSync(join(tmpdir(), "garrison-bench-"));
const authority = openAuthority({ stateFolder, trustDomain: DEFAULT_TRUST_DOMAIN, clock: systemClock, logger: silentLogger });
try {
  const identity = { trustDomain: DEFAULT_TRUST_DOMAIN, namespace: "photo-ns", serviceAccount: "photo-frontend" };
  const requests = Array.from({ length: REQUESTS }, () => buildCsr(generateKey(), formatSpiffeId(identity)));
  const key = generateKey();
  const publicKey = createPublicKey(key);
  const body = Buffer.alloc(350, 1);
  const signature = sign("sha256", body, key);

  await compare({
    bench: "issuance",
    peerName: "node:crypto P-256 verify + sign",
    count: 2000,
    async ours(count) {
      let left = count;
      const caller = async (csr: string): Promise<void> => {
        while (left-- > 0) await authority.recorded(await authority.issue({ csr, identity, ttlSeconds: 0, caller: "token" }));
      };
      await Promise.all(requests.map(caller));
    },
    peer(count) {
      for (let i = 0; i < count; i++) {
        verify("sha256", body, publicKey, signature);
        sign("sha256", body, key);
      }
    },
  });
} finally {
  authority.close();
  rmSync(stateFolder, { recursive: true });
}
