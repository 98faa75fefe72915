/**
 * Certificates a second from the PEM request to the PEM certificate with everything that issuing takes (parse, proof of possession, ledger and log on disk,
 * signature, check), for 256 callers at a time, against the two P-256 operations that no CA can do without: one verify and one sign. Issuing does its
 * signatures on the threads of libuv's pool and the rest on the first thread, so that it is compared with both: the two operations on the pool's
 * threads, as many at a time, which is like for like, and on one thread alone, which is what a CA without other threads could do. Rates on a machine with
 * other work say little; the CPU that each takes, of all threads, is printed beside them.
 */
import { createPublicKey, sign, verify } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { openAuthority } from "../src/ca/authority.ts";
import { systemClock } from "../src/core/clock.ts";
import { silentLogger } from "../src/core/logger.ts";
import { formatSpiffeId } from "../src/identity/spiffe-id.ts";
import { DEFAULT_TRUST_DOMAIN } from "../src/identity/trust-domain.ts";
import { buildCsr, generateKey } from "../src/x509/csr-builder.ts";
import { compare, print, type Work } from "./harness.ts";

const CALLERS = 256;
const COUNT = 2_000;
const [signAside, verifyAside] = [promisify(sign), promisify(verify)];

/** So many in all, by so many callers at a time. */
function together<T>(callers: readonly T[], once: (caller: T) => Promise<unknown>): Work {
  return async (count) => {
    let left = count;
    const call = async (caller: T): Promise<void> => {
      while (left-- > 0) await once(caller);
    };
    await Promise.all(callers.map(call));
  };
}

/** Microseconds of CPU for one, of all threads of this process. */
async function cpuOf(work: Work): Promise<number> {
  const before = process.cpuUsage();
  await work(COUNT);
  const { user, system } = process.cpuUsage(before);
  return Math.round((user + system) / COUNT);
}

const stateFolder = mkdtempSync(join(tmpdir(), "garrison-bench-"));
const authority = openAuthority({ stateFolder, trustDomain: DEFAULT_TRUST_DOMAIN, clock: systemClock, logger: silentLogger });
try {
  const identity = { trustDomain: DEFAULT_TRUST_DOMAIN, namespace: "photo-ns", serviceAccount: "photo-frontend" };
  const requests = Array.from({ length: CALLERS }, () => buildCsr(generateKey(), formatSpiffeId(identity)));
  const key = generateKey();
  const publicKey = createPublicKey(key);
  const body = Buffer.alloc(350, 1);
  const signature = sign("sha256", body, key);

  const ours = together(requests, async (csr) =>
    authority.recorded(await authority.issue({ csr, identity, ttlSeconds: 0, caller: "token" })),
  );
  const pool = together(requests, async () => {
    await verifyAside("sha256", body, publicKey, signature);
    await signAside("sha256", body, key);
  });
  const oneThread: Work = (count) => {
    for (let index = 0; index < count; index++) {
      verify("sha256", body, publicKey, signature);
      sign("sha256", body, key);
    }
  };
  const contest = { bench: "issuance", ours, count: COUNT };
  await compare({ ...contest, peer: pool, peerName: "node:crypto P-256 verify + sign on the same threads" });
  await compare({ ...contest, peer: oneThread, peerName: "node:crypto P-256 verify + sign on one thread" });
  const cpuUs = { ours: await cpuOf(ours), sameThreads: await cpuOf(pool), oneThread: await cpuOf(oneThread) };
  print({ bench: "issuance", cpuUs });
} finally {
  authority.close();
  rmSync(stateFolder, { recursive: true });
}
