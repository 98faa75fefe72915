/** Two replicas with a ledger and a record each: whichever is asked answers for both, and says when it cannot. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { until } from "../fakes/processes.ts";
import { enrol, report, requestCertificate } from "../feature/caller.ts";
import type { GarrisonProcess } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { Cluster } from "./cluster.ts";
import { namespaceWith } from "./objects.ts";

const PAY = "spiffe://cluster.local/ns/shop/sa/pay";
const first = new Place({ after });
const second = new Place({ after });
let cluster: Cluster;
let firstServe: GarrisonProcess;
let secondServe: GarrisonProcess;

async function start(at: Place): Promise<GarrisonProcess> {
  const shared = ["--kubeconfig", await cluster.controlPlaneKubeconfig(), "--ca-secret", "garrison-ca/garrison-ca"];
  const process = at.start(["serve", ...shared, "--listen", "127.0.0.1:0"]);
  await process.line(/ control plane serves /);
  return process;
}

/** Whether a replica has both ledgers: each begins with its control plane's own certificate. */
async function knowsBoth(at: Place): Promise<boolean> {
  const { exit, stdout } = await at.run("ca", "list", "--caller", "control plane");
  return exit === 0 && stdout.trim().split("\n").length === 2;
}

before(async () => {
  cluster = await Cluster.start(first);
  await cluster.apply(namespaceWith("shop", ["pay"]));
  await cluster.pod("shop", "pay-1", { account: "pay", ip: "10.244.0.7", labels: { app: "pay" } });
  firstServe = await start(first);
  secondServe = await start(second);
  await until("they know each other", async () => (await knowsBoth(first)) && (await knowsBoth(second)));
});

const token = () => cluster.token("shop", "pay", { audience: "istio-ca", pod: "pay-1" });
const enrolled = async (at: Place) => enrol(at.controlPlane(), PAY, await token());
const serialOf = (chain: string): string => parseCertificates(chain)[0]?.serial ?? "";

/** What a command prints as JSON lines. */
async function rows(at: Place, ...args: readonly string[]): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const { exit, stdout, stderr } = await at.run(...args, "--json");
  assert.equal(exit, 0, stderr);
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** The name of a replica, by its control plane's certificate. */
async function nameOf(at: Place): Promise<string> {
  const { host, port } = at.controlPlane();
  const { items } = await cluster.read<{
    readonly items: readonly { readonly metadata: { readonly name: string; readonly annotations?: object } }[];
  }>("/apis/coordination.k8s.io/v1/namespaces/garrison-system/leases?labelSelector=garrison.dev/replica");
  const isAt = ({ annotations }: { readonly annotations?: object }) =>
    (annotations as Readonly<Record<string, string>> | undefined)?.["garrison.dev/address"] === `${host}:${port}`;
  return items.find(({ metadata }) => isAt(metadata))?.metadata.name ?? "";
}

/** Tells a replica of calls of these paths, one after the other. */
async function tell(at: Place, ...paths: readonly string[]): Promise<void> {
  const call = { protocol: "http", method: "GET", service: "shop/pay", port: 8080, effect: "allow", origin: "no-policy" };
  const material = await enrolled(at);
  for (const path of paths) {
    const told = await report(at.controlPlane(), "shop/pay-1", [{ ...call, path, timeMs: BigInt(Date.now()) }], material);
    assert.deepEqual(told, { code: "OK", answer: 1 });
  }
}

const pathsOf = async (at: Place, ...flags: readonly string[]) => (await rows(at, "audit", ...flags)).map(({ path }) => path);

describe("the ledger of two replicas", { timeout: 300_000 }, () => {
  test("shows a certificate at either, and which replica issued it", async () => {
    const serial = serialOf((await enrolled(first)).chain);
    const name = await nameOf(first);
    for (const at of [first, second]) {
      const { exit, stdout, stderr } = await at.run("ca", "show", serial);
      assert.equal(exit, 0, stderr);
      assert.match(stdout, /^ *identity +spiffe:\/\/cluster\.local\/ns\/shop\/sa\/pay$/m);
      assert.match(stdout, new RegExp(`^ *issued by replica +${name}$`, "m"));
    }
    const unknown = await second.run("ca", "show", "0123456789abcdef");
    assert.deepEqual([unknown.exit, /the ledger has no certificate/.test(unknown.stderr)], [4, true]);
  });

  test("lists what both have in the order of time, and no more than asked for, by the same filters", async () => {
    const serials: string[] = [];
    for (const at of [first, second, first, second]) serials.push(serialOf((await enrolled(at)).chain));
    for (const at of [first, second]) {
      const newest = await rows(at, "ca", "list", "--identity", PAY, "--limit", "3");
      assert.deepEqual(
        newest.map(({ serial }) => serial),
        serials.slice(1),
      );
      const [one] = await rows(at, "ca", "list", "--serial", serials[0] ?? "");
      assert.deepEqual([one?.serial, one?.replica], [serials[0], await nameOf(first)]);
    }
    await requestCertificate(first.controlPlane(), buildCsr(generateKey(), PAY), { token: "none" });
    assert.equal((await rows(second, "ca", "list", "--outcome", "refused"))[0]?.replica, await nameOf(first));
  });

  test("revokes by its serial number what the other issued, and what that issued to an identity or key", async () => {
    const material = await enrolled(first);
    const serial = serialOf(material.chain);
    const revoked = await second.run("ca", "revoke", "--serial", serial, "--reason", "keyCompromise");
    assert.deepEqual([revoked.exit, revoked.stdout.split("\n")[0]], [0, "1 certificate revoked"], revoked.stderr);
    for (const at of [second, first]) {
      const proof = { material };
      await until("it proves nothing any more", async () => {
        return (await requestCertificate(at.controlPlane(), buildCsr(generateKey(), PAY), proof)).code === "UNAUTHENTICATED";
      });
    }
    assert.match((await second.run("ca", "show", serial)).stdout, /^ *revoked +\S+: keyCompromise$/m);
    const ofKey = serialOf((await enrolled(first)).chain);
    const { keyId } = JSON.parse((await second.run("ca", "show", ofKey, "--json")).stdout) as { keyId: string };
    assert.match((await second.run("ca", "revoke", "--key", keyId)).stdout, /^1 certificate revoked$/m);
    await until("the other knows", async () => (await rows(first, "ca", "list", "--serial", ofKey))[0]?.revoked !== undefined);
    const { length } = (await rows(first, "ca", "list", "--identity", PAY, "--outcome", "issued")).filter(
      ({ revoked: end }) => end === undefined,
    );
    const all = await second.run("ca", "revoke", "--identity", "shop/pay");
    assert.match(all.stdout, new RegExp(`^${length} certificates revoked$`, "m"));
    assert.equal((await second.run("ca", "unblock", "shop/pay")).exit, 0);
    await until("the other has set it free", async () =>
      (await rows(first, "ca", "revocations")).every(({ blocks }) =>
        (blocks as readonly { kind: string }[]).every(({ kind }) => kind === "key"),
      ),
    );
  });
});

describe("the record of two replicas", { timeout: 300_000 }, () => {
  test("has the decisions that either was told, in the order in which they came, under numbers that say whose they are", async () => {
    await tell(first, "/1");
    await tell(second, "/2", "/3");
    await tell(first, "/4");
    for (const at of [first, second]) {
      assert.deepEqual(await pathsOf(at), ["/1", "/2", "/3", "/4"]);
      assert.deepEqual(await pathsOf(at, "--limit", "2"), ["/3", "/4"]);
      assert.deepEqual(await pathsOf(at, "--limit", "3", "--order", "oldest"), ["/1", "/2", "/3"]);
      assert.deepEqual(await pathsOf(at, "--path", "/3"), ["/3"]);
    }
    const name = (await nameOf(second)).replace("garrison-replica-", "");
    const { stdout } = await first.run("audit", "--path", "/3");
    assert.match(stdout, new RegExp(`^ *2@${name} `));
    assert.deepEqual(await pathsOf(first, "--after-id", `1@${name}`), ["/3"]);
    const shown = await first.run("audit", "show", `2@${name}`);
    assert.deepEqual([shown.exit, shown.stdout.includes(" GET /3 ")], [0, true], shown.stderr);
    const unknown = await first.run("audit", "show", "2@0123456789");
    assert.deepEqual([unknown.exit, /there is no replica `0123456789`/.test(unknown.stderr)], [4, true]);
    const later = await first.run("audit", "--after-id", "2@0123456789");
    assert.match(later.stderr, /^garrison: there is no replica `0123456789` .*\n {2}help: its name is in the numbers/);
  });
});

describe("the record of two replicas that is followed", { timeout: 300_000 }, () => {
  test("tells what comes at either, and also at one that begins later", async () => {
    const follow = first.start(["audit", "--follow", "--path", "/followed/*"]);
    const later = new Place({ after });
    const laterServe = await start(later);
    for (const [name, at] of Object.entries({ first, second, later })) {
      // What was there before is not told; so it comes until it is.
      await until(`what the ${name} is told is told`, async () => {
        await tell(at, `/followed/${name}`);
        return (
          follow.output.includes(`@${(await nameOf(at)).replace("garrison-replica-", "")} `) && follow.output.includes(`/followed/${name}`)
        );
      });
    }
    await laterServe.kill();
    await follow.line(/another replica of the control plane could not be asked, so that what it was told is missing here: /);
    const { mark } = follow;
    await tell(second, "/followed/after");
    await follow.line(/\/followed\/after/, mark);
    await follow.stop();
    await until("it is counted no more", async () => (await first.run("audit")).exit === 0, 60_000);
  });
});

describe("a replica that cannot be asked", { timeout: 300_000 }, () => {
  /** What is asked of the first while the second is silent or gone. */
  async function isTold(why: RegExp, serial: string): Promise<void> {
    // At once: soon nobody counts it as alive.
    const [list, audit, revoked] = await Promise.all([
      first.run("ca", "list", "--json"),
      first.run("audit", "--json"),
      first.run("ca", "revoke", "--serial", serial),
    ]);
    for (const { exit, stdout, stderr } of [list, audit]) {
      assert.equal(exit, 5, stderr);
      assert.match(stderr, why);
      assert.notEqual(stdout, "");
      assert.doesNotMatch(stdout, /unasked/);
    }
    assert.equal(revoked.exit, 4, revoked.stdout);
    assert.match(revoked.stderr, /the ledger has no issued certificate .*, and not all replicas could be asked: /);
  }

  test("since it does not answer in time is told after some seconds, with what the other has", async () => {
    const [serial, name] = [serialOf((await enrolled(second)).chain), await nameOf(second)];
    secondServe.signal("SIGSTOP");
    try {
      await isTold(new RegExp(`another replica of the control plane could not be asked.*${name}: it did not answer for 5 s`), serial);
    } finally {
      secondServe.signal("SIGCONT");
    }
    await until("it answers again", async () => (await first.run("ca", "revoke", "--serial", serial)).exit === 0);
  });

  test("since it was killed is told until nobody counts it as alive, and then the other answers for itself", async () => {
    const [serial, name] = [serialOf((await enrolled(second)).chain), await nameOf(second)];
    await secondServe.kill();
    await isTold(
      new RegExp(`another replica of the control plane could not be asked.*${name}: it cannot be reached: connect ECONNREFUSED`),
      serial,
    );
    await until("it is counted no more", async () => (await first.run("audit")).exit === 0, 60_000);
    assert.deepEqual(await pathsOf(first, "--limit", "2", "--order", "oldest"), ["/1", "/4"]);
    assert.match((await first.run("ca", "show", serial)).stderr, /the ledger has no certificate/);
    assert.ok(firstServe.running);
  });
});
