/** Two machines that are members of one group, a client that calls them, and what becomes of a member that is ill, killed, or not one at all. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { copyFileSync, mkdirSync } from "node:fs";
import { createServer, get } from "node:http";
import { join } from "node:path";
import { describe, test } from "node:test";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import { GarrisonProcess, garrison, type Scope } from "./garrison.ts";
import { account, NAMESPACES, peerAuthentication, sidecar } from "./mesh.ts";
import { Place } from "./place.ts";

interface Ports {
  /** Where members' proxies accept peers. */
  readonly inbound: number;
  /** Where members' applications listen. */
  readonly application: number;
  /** Where the client's proxy takes calls. */
  readonly outbound: number;
}

/** Addresses of one machine stand for machines; the operator names them, since all connections come from 127.0.0.1. */
const [ANNA, BERT] = ["127.0.0.2", "127.0.0.3"];

function serviceAccount(name: string): string {
  return `---
apiVersion: v1
kind: ServiceAccount
metadata: { name: ${name}, namespace: shop }
`;
}

function service(inbound: number): string {
  return `---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { selector: { app: web }, ports: [{ name: http, port: 80, targetPort: ${inbound} }] }
`;
}

function meshYaml({ inbound, application, outbound }: Ports): string {
  const ingress = `  ingress: [{ port: { number: ${inbound}, protocol: HTTP, name: http }, defaultEndpoint: "0.0.0.0:${application}" }]
`;
  const egress = `  egress: [{ port: { number: ${outbound}, protocol: HTTP, name: http }, bind: 127.0.0.1, hosts: ["shop/web.shop.svc.cluster.local"] }]
`;
  return [
    NAMESPACES,
    ...["web", "other"].map(serviceAccount),
    `---\n${account("client")}`,
    service(inbound),
    sidecar("web", ingress),
    sidecar("client", egress),
    `---\n${peerAuthentication("STRICT")}`,
  ].join("");
}

function groupYaml({ application }: Ports, app: string): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: { name: web, namespace: shop, annotations: { garrison.dev/addresses: 127.0.0.0/8 } }
spec:
  metadata: { labels: { app: ${app} } }
  template: { serviceAccount: web, labels: { version: v1 } }
  probe: { periodSeconds: 1, failureThreshold: 1, httpGet: { port: ${application}, path: /health } }
`;
}

class Application {
  well = true;
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
  }

  async start(scope: Scope, address: string, port: number): Promise<this> {
    const server = createServer((incoming, response) => {
      response.statusCode = incoming.url === "/health" && !this.well ? 500 : 200;
      response.end(this.#name);
    });
    scope.after(() => {
      server.close();
      server.closeAllConnections();
    });
    server.listen(port, address);
    await once(server, "listening");
    return this;
  }
}

/** Whoever answers a call, or its status. */
function ask(port: number): Promise<string> {
  return new Promise((resolve) => {
    const sent = get({ host: "127.0.0.1", port, path: "/", agent: false, timeout: 5_000 }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.once("end", () => resolve(response.statusCode === 200 ? text : String(response.statusCode)));
      response.once("error", () => resolve("error"));
    });
    sent.once("timeout", () => sent.destroy());
    sent.once("error", () => resolve("error"));
  });
}

class Machines {
  readonly place: Place;
  readonly #flags: readonly string[];
  #listen = "";
  #ports: Ports = { inbound: 0, application: 0, outbound: 0 };

  constructor(scope: Scope, flags: readonly string[]) {
    this.place = new Place(scope);
    this.#flags = flags;
  }

  async start(): Promise<{ readonly anna: Application; readonly bert: Application; readonly serve: GarrisonProcess }> {
    const [inbound, application, outbound] = await Promise.all([pickPort(), pickPort(), pickPort()]);
    this.#ports = { inbound, application, outbound };
    this.#listen = `127.0.0.1:${await pickPort()}`;
    this.place.write("mesh.yaml", meshYaml(this.#ports));
    this.place.write("group.yaml", groupYaml(this.#ports, "web"));
    const serve = await this.serve();
    const anna = await new Application("anna").start(this.place, ANNA, application);
    const bert = await new Application("bert").start(this.place, BERT, application);
    return { anna, bert, serve };
  }

  serve(): Promise<GarrisonProcess> {
    return this.place.serve(this.#listen, ["--vm-grace", "3"]);
  }

  /** The group's members are of this application from now on. */
  relabel(app: string): void {
    this.place.write("group.yaml", groupYaml(this.#ports, app));
  }

  async client(): Promise<void> {
    await this.place.start(["run", "--workload", "shop/client", ...this.#flags]).line(/ proxy ready /);
  }

  async token(...whom: readonly string[]): Promise<string> {
    const { stdout, stderr, exit } = await this.place.run("token", "join", ...whom);
    assert.equal(exit, 0, stderr);
    return stdout.trim();
  }

  /** The command line of a machine that has nothing of its control plane but the root's copy. */
  command(name: string, address: string, ...more: readonly string[]): readonly string[] {
    const folder = join(this.place.folder, name);
    mkdirSync(folder, { recursive: true });
    copyFileSync(this.place.controlPlane().rootCertificate, join(folder, "root-cert.pem"));
    const where = ["--root-ca", join(folder, "root-cert.pem"), "--state", join(folder, "state"), "--output-certs", join(folder, "certs")];
    return ["vm", "join", "--control-plane", this.#listen, "--group", "shop/web", "--address", address, ...where, ...this.#flags, ...more];
  }

  /** A machine that joins, serving when this resolves. */
  async join(name: string, address: string, ...more: readonly string[]): Promise<GarrisonProcess> {
    const agent = new GarrisonProcess(this.place, this.command(name, address, ...more));
    await agent.line(/ this machine is registered /);
    await agent.line(/ proxy ready /);
    return agent;
  }

  /** Calls until exactly these have answered of the last calls. */
  untilAnswer(...names: readonly string[]): Promise<void> {
    return until(`the client is answered by ${names.join(" and ")}`, async () => {
      const answers = new Set<string>();
      for (let call = 0; call < 12; call += 1) answers.add(await ask(this.#ports.outbound));
      return [...answers].sort().join() === [...names].sort().join();
    });
  }

  async workloads(): Promise<readonly string[]> {
    return (await this.place.status()).workloads.map(({ workload }) => workload).filter((workload) => workload !== "shop/client");
  }
}

export function describeVmJoin(proxy: string, flags: readonly string[], options: { readonly skip?: string | false } = {}): void {
  describe(`machines that join a group, by ${proxy}`, { timeout: 240_000, ...options }, () => {
    test("are called while they are well, and come back without a token", async (t) => {
      const machines = new Machines(t, flags);
      const { anna, serve } = await machines.start();
      const first = await machines.join("anna", ANNA, "--join-token", await machines.token("--group", "shop/web"));
      const second = await machines.join("bert", BERT, "--join-token", await machines.token("--group", "shop/web"));
      await machines.client();
      await machines.untilAnswer("anna", "bert");
      assert.deepEqual(await machines.workloads(), [`shop/web-${ANNA}`, `shop/web-${BERT}`]);

      anna.well = false;
      await first.line(/the application is not healthy: no calls are sent to it.*the application answered 500/);
      await machines.untilAnswer("bert");
      const told = await machines.place.run("status");
      assert.match(told.stdout, /shop\/web-127\.0\.0\.2 .*; NO CALLS, it is unhealthy: the application answered 500/);
      anna.well = true;
      await machines.untilAnswer("anna", "bert");

      await second.kill();
      await serve.line(/a machine did not come back, and is taken away group=shop\/web address=127\.0\.0\.3/);
      assert.deepEqual(await machines.workloads(), [`shop/web-${ANNA}`]);
      await machines.untilAnswer("anna");

      const again = await machines.join("bert", BERT);
      assert.match(again.output, /certificate of an earlier run taken up/);
      await machines.untilAnswer("anna", "bert");
      assert.equal(await again.stop(), 0);
      assert.match(serve.output, /a machine has left workload=shop\/web-127\.0\.0\.3/);
      assert.deepEqual(await machines.workloads(), [`shop/web-${ANNA}`]);
      await machines.untilAnswer("anna");
    });

    test("stay members while the control plane is started anew, and follow their group", async (t) => {
      const machines = new Machines(t, flags);
      const { serve } = await machines.start();
      const agent = await machines.join("anna", ANNA, "--join-token", await machines.token("--group", "shop/web"));
      await machines.client();
      await machines.untilAnswer("anna");
      await serve.stop();
      const mark = agent.mark;
      const second = await machines.serve();
      assert.deepEqual(await machines.workloads(), [`shop/web-${ANNA}`]);
      await agent.line(/ this machine is registered /, mark);
      await second.line(/a machine is registered workload=shop\/web-127\.0\.0\.2/);
      machines.relabel("elsewhere");
      await machines.untilAnswer("503");
      machines.relabel("web");
      await machines.untilAnswer("anna");
      machines.place.remove("group.yaml");
      await agent.line(/this machine is not registered.*is not the identity of a WorkloadGroup `shop\/web`/, mark);
      await until("nobody is a member", async () => (await machines.workloads()).length === 0);
    });
  });
}

/** What needs no proxy: the identity alone. */
export function describeRefusals(): void {
  describe("a machine that is no member", { timeout: 120_000 }, () => {
    test("is refused by its identity, by its address, and by what its address is already", async (t) => {
      const machines = new Machines(t, ["--proxy", "none"]);
      await machines.start();
      const run = (name: string, address: string, token: string, ...more: readonly string[]) =>
        garrison([...machines.command(name, address, "--join-token", token), ...more]);
      const others = await machines.token("--service-account", "shop/other");
      const wrong = await run("wrong", ANNA, others);
      assert.deepEqual(
        [
          wrong.exit,
          /`spiffe:\/\/cluster\.local\/ns\/shop\/sa\/other` is not the identity of a WorkloadGroup `shop\/web`/.test(wrong.stderr),
        ],
        [4, true],
        wrong.stderr,
      );
      const none = await run("none", ANNA, others, "--group", "shop/none");
      assert.match(none.stderr, /is not the identity of a WorkloadGroup `shop\/none`/);

      const token = await machines.token("--group", "shop/web");
      const stolen = await run("stolen", "127.0.0.1", token);
      assert.match(stolen.stderr, /the address `127\.0\.0\.1` is that of WorkloadEntry shop\/client/);
      const far = await run("far", "10.9.9.9", token);
      assert.match(far.stderr, /the connection comes from `127\.0\.0\.1`, and not from `10\.9\.9\.9`/);
      const nobody = await run("nobody", "0.0.0.0", token);
      assert.deepEqual([nobody.exit, /`0\.0\.0\.0` is not the address of a machine/.test(nobody.stderr)], [2, true], nobody.stderr);
      const captured = await run("command", ANNA, token, "--", "true");
      assert.match(captured.stderr, /`garrison vm join` runs no command/);
      assert.deepEqual(await machines.workloads(), []);

      // None of these used the token up.
      const joined = new GarrisonProcess(machines.place, machines.command("anna", ANNA, "--join-token", token));
      await joined.line(/ this machine is registered /);
      const used = await run("used", BERT, token);
      assert.match(used.stderr, /the join token was refused: already used/);
      assert.equal(await joined.stop(), 0);
      assert.deepEqual(await machines.workloads(), []);
    });

    test("is told which group there is none of when a token is asked for", async (t) => {
      const machines = new Machines(t, []);
      await machines.start();
      const { exit, stderr } = await machines.place.run("token", "join", "--group", "shop/none");
      assert.deepEqual([exit, /the configuration has no WorkloadGroup `shop\/none`/.test(stderr)], [4, true], stderr);
    });
  });
}
