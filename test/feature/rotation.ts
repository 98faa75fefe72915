/** The CA's authority is replaced under a running mesh, whichever proxies it has. */
import assert from "node:assert/strict";
import { copyFileSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { callAdmin } from "../../src/cli/admin-client.ts";
import type { AuthoritiesAnswer } from "../../src/server/authorities.ts";
import type { RotationAnswer } from "../../src/server/rotation.ts";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import { enrol } from "./caller.ts";
import type { FaultOptions } from "./faults.ts";
import { GarrisonProcess } from "./garrison.ts";
import { CLIENT, CLIENT_IDENTITY, SERVER } from "./mesh.ts";
import { askByTcp, Load } from "./rotation-load.ts";
import { type ProxyFlags, Scene } from "./scene.ts";

export interface RotationProxies {
  readonly client: ProxyFlags;
  readonly server: ProxyFlags;
}

const AWAY = "shop/away";

/** Besides HTTP a port of TCP, and a third workload. */
async function writeMore(scene: Scene): Promise<number> {
  const { place, ports } = scene;
  const [inbound, outbound] = [await pickPort(), await pickPort()];
  const append = (file: string, text: string) => place.write(file, place.read(file) + text);
  append(
    "server.yaml",
    `    - port: { number: ${inbound}, protocol: TCP, name: tcp }
      defaultEndpoint: 127.0.0.1:${ports.application}
---
apiVersion: v1
kind: Service
metadata: { name: raw, namespace: shop }
spec:
  selector: { app: server }
  ports: [{ name: tcp, port: 81, targetPort: ${inbound} }]
`,
  );
  append(
    "client.yaml",
    `    - port: { number: ${outbound}, protocol: TCP, name: tcp }
      bind: 127.0.0.1
      hosts: ["shop/raw.shop.svc.cluster.local"]
`,
  );
  append(
    "policy.yaml",
    `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: client-connects, namespace: shop }
spec:
  selector: { matchLabels: { app: server } }
  action: ALLOW
  rules:
    - from: [{ source: { principals: ["cluster.local/ns/shop/sa/client"] } }]
      to: [{ operation: { ports: ["${inbound}"] } }]
`,
  );
  place.write(
    "away.yaml",
    `apiVersion: v1
kind: ServiceAccount
metadata: { name: away, namespace: shop }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: away, namespace: shop }
spec: { address: 127.0.0.1, serviceAccount: away, labels: { app: away } }
`,
  );
  return outbound;
}

/** A mesh of a client and a server, and how a rotation is asked of it. */
class RotatingMesh {
  readonly scene: Scene;
  readonly #proxies: RotationProxies;
  tcp = 0;

  constructor(scope: FaultOptions["scope"], proxies: RotationProxies) {
    this.scene = new Scene(scope, proxies.client);
    this.#proxies = proxies;
  }

  async start(): Promise<void> {
    const { scene } = this;
    await scene.prepare();
    this.tcp = await writeMore(scene);
    await scene.startControlPlane();
    await Promise.all([scene.startAgent(SERVER, [], this.#proxies.server), scene.startAgent(CLIENT, [], this.#proxies.client)]);
    await scene.untilAnswer("/open", 200);
    await until("both agents follow", async () => (await this.authorities()).authorities.every(({ acknowledged }) => acknowledged === 2));
  }

  /** Gone without a word, and back. */
  async killControlPlane(): Promise<void> {
    await this.scene.serve.kill();
    await this.scene.startControlPlane();
    await until("both agents follow again", async () => {
      const { connected, authorities } = await this.authorities();
      return connected >= 2 && authorities.every(({ waiting }) => waiting.length === 0);
    });
  }

  async authorities(): Promise<AuthoritiesAnswer> {
    return (await callAdmin(join(this.scene.place.state, "admin.sock"), "GET", "/v1/ca/authorities")) as AuthoritiesAnswer;
  }

  /** Identifier and state of each, the oldest first. */
  async states(): Promise<readonly (readonly [string, string])[]> {
    return (await this.authorities()).authorities.map(({ id, state }) => [id, state]);
  }

  async step(...args: readonly string[]): Promise<RotationAnswer & { readonly exit: number | NodeJS.Signals }> {
    const { exit, stdout, stderr } = await this.scene.place.run("ca", ...args, "--json");
    assert.notEqual(stdout, "", stderr);
    return { exit, ...(JSON.parse(stdout) as RotationAnswer) };
  }
}

/** What the owner of a key with the client's name gets from the server's proxy; `refused` in the handshake. */
function askWith(port: number, { key, chain: cert }: { readonly key: string; readonly chain: string }): Promise<number | "refused"> {
  return new Promise((resolve) => {
    const options = { host: "127.0.0.1", port, path: "/open", key, cert, rejectUnauthorized: false, agent: false };
    const sent = request(options, (response) => {
      resolve(response.statusCode ?? 0);
      response.destroy();
    });
    sent.on("error", () => resolve("refused"));
    sent.end();
  });
}

/** The whole rotation under load, with a control plane that is killed between its steps. */
export function describeRotation(name: string, proxies: RotationProxies, { skip = false, scope }: FaultOptions): void {
  describe(`the authority is replaced under load with ${name}`, { skip, timeout: 180_000 }, () => {
    const mesh = new RotatingMesh(scope, proxies);
    const { scene } = mesh;
    const { place } = scene;
    const staleRoots = join(place.folder, "stale-root.pem");
    let [first, second] = ["", ""];
    let load: Load;
    let stolen: Awaited<ReturnType<typeof enrol>>;

    /** An agent on a machine that got the roots long ago. */
    const startAway = (): GarrisonProcess => {
      const { host, port } = place.controlPlane();
      const flags = [
        "--workload",
        AWAY,
        "--proxy",
        "none",
        "--state",
        join(place.folder, "away"),
        "--token-file",
        join(place.folder, "token"),
      ];
      return new GarrisonProcess(place, ["agent", "--control-plane", `${host}:${port}`, "--root-ca", staleRoots, ...flags]);
    };
    const tokenOf = async (account: string) => (await place.run("token", account)).stdout.trim();

    before(async () => {
      await mesh.start();
      copyFileSync(place.controlPlane().rootCertificate, staleRoots);
      writeFileSync(join(place.folder, "token"), await tokenOf(AWAY));
      stolen = await enrol(place.controlPlane(), CLIENT_IDENTITY, await tokenOf(CLIENT));
      const away = startAway();
      await away.line(/ certificate received /);
      await away.kill();
      await until("the agent that is away is not connected any more", async () => (await mesh.authorities()).connected === 2);
      load = new Load({ http: scene.ports.outbound, tcp: mesh.tcp });
      place.after(() => load.stop());
    });

    test("a prepared authority is trusted by every connected proxy and signs nothing; a dry run makes none", async () => {
      [[first = ""] = []] = [...(await mesh.states())];
      const dry = await mesh.step("prepare", "--dry-run");
      assert.deepEqual([dry.exit, dry.done, dry.concerned.toSorted(), (await mesh.states()).length], [0, false, [CLIENT, SERVER], 1]);
      const { exit, authority, waiting, connected } = await mesh.step("prepare");
      second = authority;
      assert.deepEqual([exit, waiting, connected], [0, [], 2]);
      assert.deepEqual(await mesh.states(), [
        [first, "active"],
        [second, "prepared"],
      ]);
      await scene.renew(CLIENT);
      const [old, next] = (await mesh.authorities()).authorities;
      assert.deepEqual([old?.inUse, next?.inUse, next?.certificates], [2, 0, 0]);
      assert.equal(parseCertificates(readFileSync(place.controlPlane().rootCertificate, "utf8")).length, 2);
    });

    test("it survives a kill, and signs from its activation on; older certificates live on", async () => {
      await mesh.killControlPlane();
      const { exit, cutOff, waiting } = await mesh.step("activate");
      assert.deepEqual([exit, cutOff, waiting], [0, [], []]);
      await scene.renew(CLIENT);
      await until("the new certificate is reported", async () => (await mesh.authorities()).authorities[1]?.inUse === 1);
      await mesh.killControlPlane();
      assert.deepEqual(await mesh.states(), [
        [first, "old"],
        [second, "active"],
      ]);
      assert.equal(await askWith(scene.ports.inbound, stolen), 200);
    });

    test("a revocation that would cut somebody off is refused and says whom", async () => {
      const dry = await mesh.step("revoke", "--authority", first.slice(0, 8), "--dry-run");
      const refused = await mesh.step("revoke", "--authority", first.slice(0, 8));
      assert.deepEqual([dry.exit, dry.done, refused.exit, refused.done], [1, false, 1, false]);
      const reasons = new Map(refused.cutOff.map(({ identity, why }) => [identity.split("/").at(-1), why]));
      assert.match(reasons.get("server") ?? "", /^not renewed: shop\/server \(1 certificate, /);
      assert.match(reasons.get("away") ?? "", /^not connected: shop\/away \(1 certificate, /);
      assert.deepEqual([refused.cutOff, [...reasons.keys()].toSorted()], [dry.cutOff, ["away", "server"]]);
    });

    test("an agent that was away all the time comes back with the roots of then, and recovers", async () => {
      const away = startAway();
      await away.line(/ certificate received /);
      await until("it trusts both, and has a certificate of the new one", async () => {
        const { connected, authorities } = await mesh.authorities();
        return connected === 3 && authorities[1]?.inUse === 2 && authorities.every(({ acknowledged }) => acknowledged === 3);
      });
    });

    test("tainting has every certificate of the old authority replaced at once", async () => {
      const before = (await scene.agentStatus(SERVER)).certificate.serial;
      const { exit, concerned, waiting } = await mesh.step("taint");
      assert.deepEqual([exit, concerned, waiting], [0, [SERVER], []]);
      assert.notEqual((await scene.agentStatus(SERVER)).certificate.serial, before);
      const [old, active] = (await mesh.authorities()).authorities;
      assert.deepEqual([old?.state, old?.inUse, active?.inUse], ["tainted", 0, 3]);
      await mesh.killControlPlane();
      assert.equal((await mesh.states())[0]?.[1], "tainted");
    });

    test("revoking it then cuts nobody off, a certificate that is left of it is refused, and its key is gone", async () => {
      await until("all three follow, and have said by which authority their certificates are", async () => {
        const { connected, authorities } = await mesh.authorities();
        return connected === 3 && authorities[1]?.inUse === 3;
      });
      assert.equal(await askWith(scene.ports.inbound, stolen), 200);
      const { exit, cutOff, waiting } = await mesh.step("revoke", "--authority", first);
      assert.deepEqual([exit, cutOff, waiting], [0, [], []]);
      assert.equal(await askWith(scene.ports.inbound, stolen), "refused");
      await mesh.killControlPlane();
      assert.deepEqual(await mesh.states(), [[second, "active"]]);
      const keys = readdirSync(join(place.state, "ca")).filter((file) => file.startsWith("ca-key"));
      assert.deepEqual(keys, [`ca-key-${second}.pem`]);
      assert.equal(statSync(join(place.state, "ca", `ca-key-${second}.pem`)).mode & 0o777, 0o600);
      assert.equal(parseCertificates(readFileSync(place.controlPlane().rootCertificate, "utf8")).length, 1);
    });

    test("no request and no connection failed from the first step to the last", async () => {
      await Promise.all([scene.renew(CLIENT), scene.renew(SERVER)]);
      const { http, tcp } = load.calls;
      await until("calls went on", () => load.calls.http > http + 20 && load.calls.tcp > tcp + 20);
      await load.stop();
      assert.deepEqual(load.failures, []);
      assert.ok(load.calls.http > 100 && load.calls.tcp > 100, JSON.stringify(load.calls));
    });
  });
}

/** Steps that are forced on somebody who cannot follow. */
export function describeForcedRotation(name: string, proxies: RotationProxies, { skip = false, scope }: FaultOptions): void {
  describe(`a forced rotation with ${name}`, { skip, timeout: 180_000 }, () => {
    const mesh = new RotatingMesh(scope, proxies);
    const { scene } = mesh;
    before(() => mesh.start());

    test("an authority is not activated while a connected agent has not acknowledged it, unless that is forced", async () => {
      scene.agent(CLIENT).signal("SIGSTOP");
      scene.place.after(() => scene.agent(CLIENT).signal("SIGCONT"));
      const prepared = await mesh.step("prepare");
      assert.deepEqual([prepared.exit, prepared.done, prepared.waiting], [1, true, [CLIENT]]);
      const refused = await mesh.step("activate");
      assert.deepEqual([refused.exit, refused.done], [1, false]);
      assert.deepEqual(
        refused.cutOff.map(({ workload, why }) => [workload, why]),
        [[CLIENT, "has not acknowledged the new root"]],
      );
      scene.agent(CLIENT).signal("SIGCONT");
      await until("it has acknowledged", async () => (await mesh.step("activate", "--dry-run")).cutOff.length === 0);
      assert.equal((await mesh.step("activate")).exit, 0);
    });

    test("a forced revocation cuts off who has not renewed, on open connections too, and says so", async () => {
      scene.agent(CLIENT).signal("SIGSTOP");
      const tainted = await mesh.step("taint");
      assert.deepEqual([tainted.exit, tainted.waiting], [1, [CLIENT]]);
      const [[old = ""] = []] = await mesh.states();
      assert.equal((await mesh.step("revoke", "--authority", old)).done, false);
      const forced = await mesh.step("revoke", "--authority", old, "--force", "--reason", "cACompromise");
      assert.deepEqual([forced.exit, forced.done, forced.revoked], [0, true, 1]);
      // The other agent may be between two connections at that moment.
      assert.ok(forced.connected <= 1, `${forced.connected} are connected`);
      assert.deepEqual(
        forced.cutOff.map(({ identity }) => identity),
        [CLIENT_IDENTITY],
      );
      const { stdout } = await scene.place.run("ca", "list", "--outcome", "revoked");
      assert.match(stdout, /: cACompromise\n$/);
      await until("its calls are refused", async () => (await scene.ask("/open")) !== 200);
    });

    test("who was cut off recovers with its token, on connections that are new", async () => {
      assert.notEqual(await askByTcp(mesh.tcp), undefined);
      scene.agent(CLIENT).signal("SIGCONT");
      await until("a new connection is let through", async () => (await askByTcp(mesh.tcp)) === undefined);
      const { authorities } = await mesh.authorities();
      assert.deepEqual([authorities.length, authorities[0]?.state], [1, "active"]);
    });
  });
}
