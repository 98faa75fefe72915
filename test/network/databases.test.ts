/** A real Redis, a real PostgreSQL and a real MariaDB, their own clients, and nothing that any of them knows of the mesh. */
import assert from "node:assert/strict";
import { appendFileSync, chownSync, globSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { until } from "../fakes/processes.ts";
import { Place } from "../feature/place.ts";
import { CapturedMesh, serviceYaml, workloadYaml } from "./captured-mesh.ts";
import { network } from "./hosts.ts";

/** `nobody`: PostgreSQL does not run as root. */
const USER = 65_534;
const REDIS = "10.96.0.21";
const POSTGRES = "10.96.0.22";
const MYSQL = "10.96.0.23";

const RULES = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: shop }
spec: { mtls: { mode: STRICT } }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: stores, namespace: shop }
spec:
  selector: { matchLabels: { app: store } }
  rules:
    - from: [{ source: { principals: ["cluster.local/ns/shop/sa/client"] } }]
      to: [{ operation: { ports: ["6379", "5432", "3306"] } }]
    - from: [{ source: { principals: ["cluster.local/ns/shop/sa/other"] } }]
      to: [{ operation: { ports: ["6379"] } }]
`;

/** Services without an address of their own are told by their pods. */
const HEADLESS = `---
apiVersion: v1
kind: Service
metadata: { name: store-pods, namespace: shop }
spec: { clusterIP: None, selector: { app: store }, ports: [{ name: redis, port: 6379 }, { name: tcp-postgres, port: 5432 }, { name: mysql, port: 3306 }] }
`;

describe("captured databases", { timeout: 180_000 }, () => {
  const place = new Place({ after });
  const hosts = network(place, ["control", "client", "other", "store", "stranger"]);
  const { client, other, store, stranger } = hosts;
  const redis = (host: typeof client, address: string, ...command: readonly string[]) =>
    host.run(["timeout", "8", "redis-cli", "-h", address, ...command]);
  const sql = (host: typeof client, address: string, query: string) =>
    host.run(["env", "PGCONNECT_TIMEOUT=5", "psql", "-h", address, "-U", "shop", "-d", "postgres", "-Atc", query]);

  const maria = (host: typeof client, address: string, query: string) =>
    host.run(["mariadb", "-h", address, "-u", "shop", "--connect-timeout=5", "--protocol=tcp", "-NBe", query]);

  /** Its server greets before its client says anything. */
  async function startMariaDb(): Promise<void> {
    const data = join(place.folder, "mariadb");
    mkdirSync(data, { mode: 0o700 });
    chownSync(data, USER, USER);
    const install = ["mariadb-install-db", "--no-defaults", `--datadir=${data}`, "--auth-root-authentication-method=normal"];
    const made = await store.run([...install, "--skip-test-db", "--skip-name-resolve"], { uid: USER });
    assert.equal(made.exit, 0, made.stderr);
    const account = join(data, "account.sql");
    writeFileSync(account, "CREATE USER shop@'%';\n", { mode: 0o644 });
    const socket = `--socket=${join(data, "socket")}`;
    const args = [`--datadir=${data}`, socket, `--init-file=${account}`, "--bind-address=0.0.0.0", "--skip-name-resolve", "--skip-log-bin"];
    store.start(["mariadbd", "--no-defaults", ...args, "--innodb-flush-log-at-trx-commit=0"], { uid: USER });
    await until("MariaDB serves its own host", async () => (await maria(store, "127.0.0.1", "select 1")).exit === 0);
  }

  async function startPostgres(): Promise<void> {
    const [bin] = globSync("/usr/lib/postgresql/*/bin").sort().reverse();
    const data = join(place.folder, "postgres");
    mkdirSync(data, { mode: 0o700 });
    chownSync(data, USER, USER);
    const made = await store.run([`${bin}/initdb`, "-D", data, "-U", "shop", "--auth=trust", "--no-sync", "--no-instructions"], {
      uid: USER,
    });
    assert.equal(made.exit, 0, made.stderr);
    appendFileSync(join(data, "pg_hba.conf"), "host all all 0.0.0.0/0 trust\n");
    store.start([`${bin}/postgres`, "-D", data, "-c", "listen_addresses=*", "-k", data, "-c", "fsync=off"], { uid: USER });
    await until("PostgreSQL serves its own host", async () => (await sql(store, "127.0.0.1", "select 1")).exit === 0);
  }

  before(async () => {
    place.write("ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n");
    place.write("clients.yaml", `${workloadYaml("client", client.address)}---\n${workloadYaml("other", other.address)}`);
    const redisPort = serviceYaml("store", REDIS, "{ name: redis, port: 6379 }");
    const postgresPort = serviceYaml("store", POSTGRES, "{ name: tcp-postgres, port: 5432 }").replace("name: store,", "name: store-sql,");
    const mysqlPort = serviceYaml("store", MYSQL, "{ name: mysql, port: 3306 }").replace("name: store,", "name: store-mysql,");
    place.write("store.yaml", workloadYaml("store", store.address) + redisPort + postgresPort + mysqlPort + HEADLESS);
    place.write("rules.yaml", RULES);
    const mesh = new CapturedMesh(place, hosts.control);
    await mesh.serve();
    store.start(["redis-server", "--port", "6379", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""]);
    await Promise.all([startPostgres(), startMariaDb(), mesh.join(client, "client"), mesh.join(other, "other"), mesh.join(store, "store")]);
    await store.listening(6379);
  });

  test("serve whom a policy names, by the service's address and by the pod's", async () => {
    for (const address of [REDIS, store.address]) {
      assert.equal((await redis(client, address, "set", "key", address)).stdout, "OK\n");
      assert.equal((await redis(client, address, "get", "key")).stdout, `${address}\n`);
    }
    for (const address of [POSTGRES, store.address])
      assert.deepEqual(await sql(client, address, "select 6 * 7, inet_server_port()"), { exit: 0, stdout: "42|5432\n", stderr: "" });
  });

  test("serve also where the server speaks first", async () => {
    for (const address of [MYSQL, store.address])
      assert.deepEqual(await maria(client, address, "select 6 * 7"), { exit: 0, stdout: "42\n", stderr: "" });
  });

  test("carry what is long, both ways", async () => {
    const { stdout } = await sql(client, POSTGRES, "select length(string_agg(md5(n::text), '')) from generate_series(1, 200000) n");
    assert.equal(stdout, "6400000\n");
    const long = await sql(client, POSTGRES, "select repeat('x', 3000000)");
    assert.equal(long.stdout.length, 3_000_001);
  });

  test("know one account from another, port by port", async () => {
    assert.equal((await redis(other, REDIS, "ping")).stdout, "PONG\n");
    const { exit, stderr } = await sql(other, POSTGRES, "select 1");
    assert.equal(exit, 2);
    assert.match(stderr, /server closed the connection unexpectedly/);
    const denied = await maria(other, MYSQL, "select 1");
    assert.deepEqual([denied.exit, /Lost connection|Server has gone away/.test(denied.stderr)], [1, true], denied.stderr);
  });

  test("are closed to who has no identity", async () => {
    assert.match(
      (await redis(stranger, store.address, "ping")).stderr,
      /(Error: (Connection reset|Server closed|Broken pipe)|Could not connect)/,
    );
    assert.equal((await sql(stranger, store.address, "select 1")).exit, 2);
    assert.equal((await maria(stranger, store.address, "select 1")).exit, 1);
  });

  test("say nothing at all to who has no identity, not even who they are", async () => {
    const { stdout } = await stranger.run(["timeout", "5", "bash", "-c", `exec 3<>/dev/tcp/${store.address}/3306; sleep 1; head -c 1 <&3`]);
    assert.equal(stdout, "");
  });

  test("are on record with who asked, and which rule said so", async () => {
    await until("all of it is on record", async () => {
      const { stdout } = await place.run("audit", "--json");
      const records = stdout
        .trim()
        .split("\n")
        .map(
          (line) =>
            JSON.parse(line || "{}") as {
              readonly caller?: string;
              readonly port?: number;
              readonly effect?: string;
              readonly origin?: string;
            },
        );
      const has = (account: string, port: number, effect: string, origin: string): boolean =>
        records.some(
          (each) => each.caller?.endsWith(`/sa/${account}`) && each.port === port && each.effect === effect && each.origin === origin,
        );
      return (
        has("client", 6379, "allow", "shop/stores[0]") &&
        has("client", 5432, "allow", "shop/stores[0]") &&
        has("other", 6379, "allow", "shop/stores[1]") &&
        has("other", 5432, "deny", "default") &&
        has("client", 3306, "allow", "shop/stores[0]") &&
        has("other", 3306, "deny", "default")
      );
    });
  });
});
