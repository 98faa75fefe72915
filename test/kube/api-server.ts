/** A real API server on loopback, with an etcd of its own: processes that never outlive their test. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, get } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import type { Scope } from "../feature/garrison.ts";

const START_TIMEOUT_MS = 60_000;

function assets(name: string): string {
  const folder = process.env.KUBEBUILDER_ASSETS;
  if (!folder) throw new Error("KUBEBUILDER_ASSETS is not set");
  return join(folder, name);
}

/** The cluster's own CA, the certificates of its server and of its administrator, and the key of its service account tokens. */
function makePki(folder: string): void {
  const openssl = (...args: readonly string[]): void => void execFileSync("openssl", args, { cwd: folder, stdio: "ignore" });
  const key = (name: string): void => openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", `${name}.key`);
  key("ca");
  openssl("req", "-x509", "-new", "-key", "ca.key", "-days", "2", "-subj", "/CN=kubernetes", "-out", "ca.crt");
  const issue = (name: string, subject: string, extensions: string): void => {
    key(name);
    writeFileSync(join(folder, `${name}.ext`), extensions);
    openssl("req", "-new", "-key", `${name}.key`, "-subj", subject, "-out", `${name}.csr`);
    openssl(
      "x509",
      "-req",
      "-in",
      `${name}.csr`,
      "-CA",
      "ca.crt",
      "-CAkey",
      "ca.key",
      "-CAcreateserial",
      "-days",
      "2",
      "-extfile",
      `${name}.ext`,
      "-out",
      `${name}.crt`,
    );
  };
  issue("server", "/CN=kube-apiserver", "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n");
  issue("admin", "/O=system:masters/CN=admin", "extendedKeyUsage=clientAuth\n");
  openssl("genrsa", "-out", "tokens.key", "2048");
  openssl("rsa", "-in", "tokens.key", "-pubout", "-out", "tokens.pub");
}

/** As the API server's audit log has it. */
export interface AuditedRequest {
  readonly verb: string;
  readonly objectRef?: { readonly apiGroup?: string; readonly resource: string; readonly subresource?: string; readonly name?: string };
  readonly annotations?: Readonly<Record<string, string>>;
}

type Process = "kube-apiserver" | "kube-controller-manager" | "etcd";

export class ApiServer {
  /** The administrator's. */
  readonly kubeconfig: string;
  readonly #folder: string;
  readonly #port: number;
  readonly #etcdPort: number;
  readonly #peerPort: number;
  readonly #processes = new Map<string, ChildProcess>();

  private constructor(folder: string, port: number, etcdPort: number, peerPort: number) {
    this.#folder = folder;
    this.#port = port;
    this.#etcdPort = etcdPort;
    this.#peerPort = peerPort;
    this.kubeconfig = this.writeKubeconfig("admin", { "client-certificate": this.#pki("admin.crt"), "client-key": this.#pki("admin.key") });
  }

  /** Starts one and waits until it is ready; it ends with `scope`. */
  static async start(scope: Scope): Promise<ApiServer> {
    const folder = mkdtempSync(join(tmpdir(), "gk-"));
    mkdirSync(join(folder, "pki"));
    makePki(join(folder, "pki"));
    const server = new ApiServer(folder, await pickPort(), await pickPort(), await pickPort());
    scope.after(async () => {
      await server.stop("kube-controller-manager");
      await server.stop("kube-apiserver");
      await server.stop("etcd");
      rmSync(folder, { recursive: true, force: true });
    });
    server.#startStore();
    await server.startServing();
    return server;
  }

  get #store(): string {
    return join(this.#folder, "etcd");
  }

  #startStore(): void {
    const [clients, peer] = [`http://127.0.0.1:${this.#etcdPort}`, `http://127.0.0.1:${this.#peerPort}`];
    const peers = ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", `default=${peer}`];
    this.#spawn("etcd", ["--data-dir", this.#store, "--listen-client-urls", clients, "--advertise-client-urls", clients, ...peers]);
  }

  /** Kills etcd with the API server, does that to what etcd has stored, and starts both again. */
  async restartStore(meanwhile: (folder: string) => void = () => undefined): Promise<void> {
    await this.stop("kube-apiserver");
    await this.stop("etcd");
    meanwhile(this.#store);
    this.#startStore();
    await this.startServing();
  }

  get url(): string {
    return `https://127.0.0.1:${this.#port}`;
  }

  /** PEM of the root by which the server is known. */
  get root(): string {
    return readFileSync(this.#pki("ca.crt"), "utf8");
  }

  /** A kubeconfig of this server for another user; its path. */
  writeKubeconfig(name: string, user: Readonly<Record<string, string>>): string {
    const file = join(this.#folder, `${name}.kubeconfig`);
    const cluster = { server: this.url, "certificate-authority": this.#pki("ca.crt") };
    const config = {
      apiVersion: "v1",
      kind: "Config",
      "current-context": "test",
      clusters: [{ name: "test", cluster }],
      users: [{ name, user }],
      contexts: [{ name: "test", context: { cluster: "test", user: name } }],
    };
    writeFileSync(file, JSON.stringify(config));
    return file;
  }

  /** What each request of a user's asked for and was allowed, in their order. */
  requestsOf(user: string): readonly AuditedRequest[] {
    const events = readFileSync(this.#auditLog, "utf8").split("\n").filter(Boolean);
    return events
      .map((line) => JSON.parse(line) as AuditedRequest & { readonly user: { readonly username: string } })
      .filter((event) => event.user.username === user && event.annotations?.["authorization.k8s.io/decision"] === "allow");
  }

  get #auditLog(): string {
    return join(this.#folder, "audit.log");
  }

  #auditPolicy(): string {
    const file = join(this.#folder, "audit.json");
    const rules = [{ level: "Metadata", userGroups: ["system:serviceaccounts"], omitStages: ["RequestReceived"] }, { level: "None" }];
    writeFileSync(file, JSON.stringify({ apiVersion: "audit.k8s.io/v1", kind: "Policy", rules }));
    return file;
  }

  /** Starts the API server over the same etcd. */
  async startServing(): Promise<void> {
    const issuer = "https://kubernetes.default.svc.cluster.local";
    this.#spawn("kube-apiserver", [
      `--etcd-servers=http://127.0.0.1:${this.#etcdPort}`,
      "--bind-address=127.0.0.1",
      `--secure-port=${this.#port}`,
      "--advertise-address=127.0.0.1",
      "--endpoint-reconciler-type=none",
      `--tls-cert-file=${this.#pki("server.crt")}`,
      `--tls-private-key-file=${this.#pki("server.key")}`,
      `--client-ca-file=${this.#pki("ca.crt")}`,
      `--cert-dir=${join(this.#folder, "run")}`,
      `--service-account-issuer=${issuer}`,
      `--service-account-signing-key-file=${this.#pki("tokens.key")}`,
      `--service-account-key-file=${this.#pki("tokens.pub")}`,
      "--authorization-mode=RBAC",
      `--audit-policy-file=${this.#auditPolicy()}`,
      `--audit-log-path=${this.#auditLog}`,
      "--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112",
      "--allow-privileged=true",
      // No controller makes the accounts' default tokens and mounts here.
      "--disable-admission-plugins=ServiceAccount",
    ]);
    await until("the API server is ready", () => this.#isReady(), START_TIMEOUT_MS);
  }

  /** Starts the controllers of these names, as the administrator. What they do is awaited by whoever waits for it. */
  startControllers(names: readonly string[]): void {
    this.#spawn("kube-controller-manager", [
      `--kubeconfig=${this.kubeconfig}`,
      `--controllers=${names.join()}`,
      // By these, one of them gives Secrets of accounts their tokens.
      `--service-account-private-key-file=${this.#pki("tokens.key")}`,
      `--root-ca-file=${this.#pki("ca.crt")}`,
      "--leader-elect=false",
      // It serves nobody.
      "--secure-port=0",
    ]);
  }

  /** Ends the API server and starts it again: nobody's watch survives that. */
  async restart(): Promise<void> {
    await this.stop("kube-apiserver");
    await this.startServing();
  }

  /** Ends one of the processes and waits for its end. */
  async stop(name: Process): Promise<void> {
    const child = this.#processes.get(name);
    this.#processes.delete(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }

  #pki(name: string): string {
    return join(this.#folder, "pki", name);
  }

  #spawn(name: Process, args: readonly string[]): void {
    const log = openSync(join(this.#folder, `${name}.log`), "a");
    this.#processes.set(name, spawn(assets(name), args, { stdio: ["ignore", log, log] }));
    closeSync(log);
  }

  #isReady(): Promise<boolean> {
    for (const name of ["etcd", "kube-apiserver"] as const)
      if (this.#processes.get(name)?.exitCode !== null)
        throw new Error(`${name} ended:\n${readFileSync(join(this.#folder, `${name}.log`), "utf8").slice(-2000)}`);
    const agent = new Agent({
      ca: readFileSync(this.#pki("ca.crt")),
      cert: readFileSync(this.#pki("admin.crt")),
      key: readFileSync(this.#pki("admin.key")),
    });
    return new Promise((resolve) => {
      get(`${this.url}/readyz`, { agent, timeout: 2000 }, (answer) => {
        answer.resume();
        resolve(answer.statusCode === 200);
      }).on("error", () => resolve(false));
    });
  }
}
