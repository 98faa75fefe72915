/** Asking what is allowed and why: of a folder with nothing running, and of a control plane that serves. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { AuditStore } from "../../src/audit/store.ts";
import { callAdmin } from "../../src/cli/admin-client.ts";
import { systemClock } from "../../src/core/clock.ts";
import { silentLogger } from "../../src/core/logger.ts";
import { sampleRecord } from "../fixture/audit-store.ts";
import { garrison, type Result } from "./garrison.ts";
import { allowPaths, CLIENT_IDENTITY, meshFiles, OPEN_RULE, SERVER, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

const place = new Place({ after }, meshFiles(UNUSED_PORTS));

/** Asks the folder. */
function offline(...args: readonly string[]): Promise<Result> {
  return garrison([...args, "-f", place.config]);
}

function fileOf(name: string, text: string): string {
  const file = join(place.folder, name);
  writeFileSync(file, text);
  return file;
}

const READ = `tests:
  - name: the client reads
    workload: ${SERVER}
    request: { from: "${CLIENT_IDENTITY}", path: /open }
    expect: allow
    by: "${OPEN_RULE}"
  - name: nobody comes without an identity
    workload: ${SERVER}
    request: { from: plaintext, path: /open }
    expect: refused
`;

const WRONG = `${READ}  - name: the client deletes
    workload: ${SERVER}
    request: { from: "${CLIENT_IDENTITY}", method: DELETE, path: /open }
    expect: allow
`;

const TRIED_RULE = "shop/no-photos[0]";
const TRIED = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-photos, namespace: shop, annotations: { istio.io/dry-run: "true" } }
spec: { selector: { matchLabels: { app: server } }, action: DENY, rules: [{ to: [{ operation: { paths: ["/open"] } }] }] }
`;

describe("garrison authz on a folder with a dry run", { timeout: 120_000 }, () => {
  const tried = new Place({ after }, { ...meshFiles(UNUSED_PORTS), "tried.yaml": TRIED });
  const ask = (...args: readonly string[]): Promise<Result> => garrison([...args, "-f", tried.config]);

  test("check shows it apart from what is enforced", async () => {
    const { exit, stdout } = await ask("authz", "check", SERVER);
    assert.equal(exit, 0);
    assert.match(stdout, /DENY {2}shop\/no-photos \(\S+tried\.yaml:\d+\): 1 rule; a dry run, not enforced/);
    assert.match(stdout, /dry runs for HTTP, recorded and not enforced:\n {4}DENY {2}shop\/no-photos\[0\] \(\S+\) denies if /);
    const { rules, policies } = JSON.parse((await ask("authz", "check", SERVER, "--json")).stdout);
    assert.deepEqual([rules.http.deny.length, rules.http.dryRun.deny[0].rule], [0, TRIED_RULE]);
    assert.deepEqual(
      policies.map(({ dryRun }: { readonly dryRun?: boolean }) => dryRun === true),
      [false, true],
    );
  });

  test("explain says what is decided, and what would be", async () => {
    const { exit, stdout } = await ask("authz", "explain", SERVER, "--from", CLIENT_IDENTITY, "--path", "/open");
    assert.equal(exit, 0);
    assert.match(stdout, /\nALLOW by shop\/client-reads\[0\]: /);
    assert.match(stdout, /\ndry run: DENY by shop\/no-photos\[0\]: a DENY rule matches/);
  });

  test("a test may say what would be, and fails where it is otherwise", async () => {
    const request = `request: { from: "${CLIENT_IDENTITY}", path: /open }`;
    const right = `tests:\n  - { name: tried, workload: ${SERVER}, ${request}, expect: allow, dryRun: deny, dryRunBy: "${TRIED_RULE}" }\n`;
    assert.equal((await ask("authz", "test", fileOf("tried.yaml", right))).exit, 0);
    const { exit, stdout } = await ask("authz", "test", fileOf("tried-wrong.yaml", right.replace("dryRun: deny", "dryRun: allow")));
    assert.equal(exit, 1);
    assert.match(
      stdout,
      /expected allow, and allow by shop\/no-photos\[0\] were dry runs in force, got allow by \S+, and deny by shop\/no-photos\[0\]/,
    );
  });
});

describe("garrison authz on a folder", { timeout: 120_000 }, () => {
  test("check shows the mode of each port with its policy, and the rules as sentences with their place", async () => {
    const { exit, stdout, stderr } = await offline("authz", "check", SERVER);
    assert.deepEqual([exit, stderr], [0, ""]);
    assert.match(stdout, /127\.0\.0\.1:20001 http: STRICT by PeerAuthentication shop\/default \(\S+peers\.yaml:\d+\)/);
    assert.match(
      stdout,
      /ALLOW shop\/client-reads\[0\] \(\S+policy\.yaml:\d+\) allows if the peer's principal is `cluster\.local\/ns\/shop\/sa\/client` and /,
    );
    const json = JSON.parse((await offline("authz", "check", SERVER, "--json")).stdout);
    assert.equal(json.listeners[0].mtlsBy.name, "shop/default");
    assert.equal(json.rules.http.allow[0].rule, OPEN_RULE);
    assert.equal(json.rules.http.otherwise, "default");
  });

  test("explain ends with 0 for what is allowed and with 1 for what is not, and says what the nearest rule misses", async () => {
    const allowed = await offline("authz", "explain", SERVER, "--from", "shop/client", "--path", "/open");
    assert.equal(allowed.exit, 0);
    assert.match(allowed.stdout, /^ALLOW by shop\/client-reads\[0\]: /m);
    const denied = await offline("authz", "explain", SERVER, "--from", "shop/client", "--path", "/admin");
    assert.equal(denied.exit, 1);
    assert.match(denied.stdout, /nearest: shop\/client-reads\[0\] .* does not match: the path is `\/admin`, not `\/open`/);
    assert.match(denied.stdout, /^DENY by default: /m);
    const refused = await offline("authz", "explain", SERVER, "--from", "plaintext", "--json");
    assert.equal(refused.exit, 1);
    assert.equal(JSON.parse(refused.stdout).effect, "refused");
  });

  test("explain ends with 5 where it hangs on what nobody here knows, and with 1 where that does not matter", async () => {
    const fetched = `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: tokens, namespace: shop }
spec: { selector: { matchLabels: { app: server } }, jwtRules: [{ issuer: "https://issuer.example.org", jwksUri: "https://issuer.example.org/keys" }] }
`;
    const unknown = new Place({ after }, { ...meshFiles(UNUSED_PORTS), "tokens.yaml": fetched });
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const token = `${part({ alg: "ES256", kid: "a" })}.${part({ iss: "https://issuer.example.org", sub: "alice" })}.${"A".repeat(86)}`;
    const explain = (...more: readonly string[]) =>
      garrison(["authz", "explain", SERVER, "-f", unknown.config, "--path", "/open", "--token", token, ...more]);
    const hanging = await explain("--from", "shop/client");
    assert.match(hanging.stdout, /^UNKNOWN: a token is of an issuer whose keys are fetched/m);
    assert.equal(hanging.exit, 5);
    assert.equal((await explain("--from", "plaintext")).exit, 1);
  });

  test("test ends with 0 where all is as expected, and with 1 and the place of each failure where not", async () => {
    const right = await offline("authz", "test", fileOf("right.yaml", READ));
    assert.deepEqual([right.exit, right.stdout], [0, "2 as expected, 0 not\n"]);
    const wrong = await offline("authz", "test", fileOf("wrong.yaml", WRONG));
    assert.equal(wrong.exit, 1);
    assert.match(wrong.stdout, /wrong\.yaml:11:5: the client deletes \(shop\/server\): expected allow, got deny by default\n/);
    assert.match(wrong.stdout, /nearest: .*the method is `DELETE`, not `GET`\n2 as expected, 1 not\n$/);
    const lines = (await offline("authz", "test", fileOf("wrong.yaml", WRONG), "--json")).stdout.trimEnd().split("\n");
    assert.deepEqual(
      lines.map((line) => JSON.parse(line).result),
      ["pass", "pass", "fail"],
    );
  });

  test("a test file with mistakes is refused with the place of each", async () => {
    const { exit, stdout, stderr } = await offline("authz", "test", fileOf("mistaken.yaml", READ.replace("expect: allow", "expect: alow")));
    assert.deepEqual([exit, stdout], [3, ""]);
    assert.match(
      stderr,
      /mistaken\.yaml:5:13: error GAR0007: `tests\[0\]\.expect` is not allowed: `alow`\n {2}help: did you mean `allow`\?/,
    );
  });

  test("an unknown workload, and words that are no command, are answered with what was meant", async () => {
    const unknown = await offline("authz", "check", "shop/serve");
    assert.equal(unknown.exit, 4);
    assert.match(unknown.stderr, /there is no workload and no service `shop\/serve`\n {2}help: did you mean `shop\/server`\?/);
    const [bare, wrong, help] = await Promise.all([garrison(["authz"]), garrison(["authz", "chek"]), garrison(["authz", "--help"])]);
    assert.deepEqual([bare.exit, wrong.exit, help.exit], [2, 2, 0]);
    assert.match(bare.stderr, /`authz` needs a command of its own\n {2}help: it is one of `authz check`, `authz explain`, `authz test`/);
    assert.match(wrong.stderr, /there is no command `authz chek`/);
    assert.match(help.stdout, /authz explain {2}say what would come of a request/);
  });

  test("a folder with errors is told on stderr, and what is in force in spite of them answers", async () => {
    const broken = new Place({ after }, { ...meshFiles(UNUSED_PORTS), "policy.yaml": allowPaths("[7]") });
    const { exit, stdout, stderr } = await garrison([
      "authz",
      "explain",
      SERVER,
      "-f",
      broken.config,
      "--from",
      "shop/client",
      "--path",
      "/open",
    ]);
    assert.equal(exit, 1);
    assert.match(stderr, /policy\.yaml:\d+:\d+: error GAR0006/);
    assert.match(stdout, /shop\/client-reads\[0\] .*: the policy is invalid, and so matches nothing until it is mended/);
  });

  test("without a folder and without a control plane there is nobody to ask", async () => {
    const { exit, stderr } = await garrison(["authz", "check", SERVER, "--state", join(place.folder, "nowhere")]);
    assert.equal(exit, 4);
    assert.match(stderr, /no control plane has run with this state folder/);
  });
});

/** What a proxy has reported of the server. */
const RECORDS = [
  sampleRecord({
    workload: SERVER,
    service: SERVER,
    caller: CLIENT_IDENTITY,
    path: "/open",
    port: UNUSED_PORTS.inbound,
    origin: OPEN_RULE,
  }),
  sampleRecord({
    workload: SERVER,
    caller: CLIENT_IDENTITY,
    path: "/admin",
    port: UNUSED_PORTS.inbound,
    status: 403,
    effect: "deny",
    origin: "default",
  }),
  sampleRecord({ workload: SERVER, caller: CLIENT_IDENTITY, path: "/old", port: UNUSED_PORTS.inbound, origin: "shop/gone[0]" }),
  sampleRecord({
    workload: SERVER,
    caller: "",
    protocol: "tcp",
    effect: "refused",
    origin: "",
    detail: "plaintext where mutual TLS is required",
  }),
  sampleRecord({ workload: "shop/gone", caller: CLIENT_IDENTITY }),
];

describe("garrison authz and audit show on a control plane", { timeout: 120_000 }, () => {
  before(async () => {
    mkdirSync(place.state, { mode: 0o700 });
    const store = new AuditStore({ file: join(place.state, "audit.sqlite"), clock: systemClock, logger: silentLogger });
    store.append(RECORDS);
    store.close();
    await place.serve();
  });

  test("the live policy gives the same answers as the folder that it came from", async () => {
    const asked = ["authz", "explain", SERVER, "--from", "shop/client", "--path", "/admin", "--json"];
    const [live, folder] = await Promise.all([place.run(...asked), offline(...asked)]);
    assert.equal(live.exit, 1);
    assert.deepEqual(JSON.parse(live.stdout), JSON.parse(folder.stdout));
    assert.equal((await place.run("authz", "test", fileOf("right.yaml", READ))).exit, 0);
    const unknown = await place.run("authz", "check", "shop/serve");
    assert.match(unknown.stderr, /did you mean `shop\/server`\?/);
    await assert.rejects(callAdmin(place.controlPlane().adminSocket, "GET", "/v1/policy"), {
      code: "invalid-argument",
      help: /\?workload=/,
    });
  });

  test("audit show explains a denial that happened", async () => {
    const { exit, stdout } = await place.run("audit", "show", "2");
    assert.equal(exit, 0);
    assert.match(stdout, /^ +2 \S+Z DENY .* GET \/admin 403 by default\n/);
    assert.match(stdout, /nearest: shop\/client-reads\[0\] .*the path is `\/admin`, not `\/open`/);
    assert.match(stdout, /by the rules in force now: DENY by default/);
    // No rule asks for what is not recorded.
    assert.doesNotMatch(stdout, /neither headers nor the server name/);
    assert.doesNotMatch(stdout, /not what was recorded/);
  });

  test("audit show says where the rules in force would now decide otherwise", async () => {
    assert.match(
      (await place.run("audit", "show", "3")).stdout,
      /by the rules in force now: DENY by default.*\nthis is not what was recorded/,
    );
    const { record, now, changed } = JSON.parse((await place.run("audit", "show", "3", "--json")).stdout);
    assert.deepEqual([record.origin, now.by, changed], ["shop/gone[0]", "default", true]);
  });

  test("audit show tells what was refused before any rule, and what cannot be asked any more", async () => {
    assert.match(
      (await place.run("audit", "show", "4")).stdout,
      /REFUSED .*\(plaintext where mutual TLS is required\)\nit was refused before any rule was asked\n$/,
    );
    assert.match((await place.run("audit", "show", "5")).stdout, /not in the mesh any more: no rule can be asked\n$/);
  });

  test("a record that there is not, and a number that is none, are refused", async () => {
    const [absent, wrong] = await Promise.all([place.run("audit", "show", "99"), place.run("audit", "show", "x")]);
    assert.deepEqual([absent.exit, wrong.exit], [4, 2]);
    assert.match(absent.stderr, /there is no record 99/);
    assert.match(wrong.stderr, /`x` is not the number of a record/);
  });
});
