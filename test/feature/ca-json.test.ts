/** `docs/reference/ca-json.md`: what is there is printed, and what is printed is there. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { callAdmin } from "../../src/cli/admin-client.ts";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { until } from "../fakes/processes.ts";
import { WorkloadApiTestClient } from "../fakes/workload-api-client.ts";
import { requestCertificate } from "./caller.ts";
import { CLIENT, CLIENT_IDENTITY, meshFiles, SERVER_IDENTITY, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

const PAGE = readFileSync(join(import.meta.dirname, "..", "..", "docs", "reference", "ca-json.md"), "utf8");
const STEPS = "prepare, activate, taint, revoke --authority";
const JWT_STEPS = "prepare, activate, revoke --jwt";
const REVOKE = "revoke --serial, --identity, --key";
/** Rows of control planes with replicas have it (`test/kube/replicas.test.ts`). */
const NOT_HERE: ReadonlySet<string> = new Set(["replica"]);

/** The fields that the page has below a heading. */
function documented(heading: string): readonly string[] {
  const [, section = ""] = PAGE.split(`\n## garrison ca ${heading}\n`);
  const cells = [...(section.split("\n## ")[0] ?? "").matchAll(/^\| ([^|]*`[^|]*) \|/gm)].map(([, cell = ""]) => cell);
  return cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name));
}

/** Each field of a value by its path, as the page names it: `a.b`, `list[]`, `list[].c`; an empty list as `list[]?`. */
function paths(value: unknown, at = ""): readonly string[] {
  if (Array.isArray(value)) return value.length === 0 ? [`${at}[]?`] : value.flatMap((each) => paths(each, `${at}[]`));
  if (typeof value !== "object" || value === null) return [at];
  return Object.entries(value).flatMap(([name, each]) => paths(each, at === "" ? name : `${at}.${name}`));
}

/** Whether a documented field stands for a path; of a list that is empty nothing more is known. */
function isOf(field: string, path: string): boolean {
  return path.endsWith("[]?")
    ? `${field}[]?`.startsWith(path) || field.startsWith(path.slice(0, -1))
    : field === path || `${field}[]` === path;
}

describe("the JSON of garrison ca is what the reference says", { timeout: 240_000 }, () => {
  const place = new Place({ after }, meshFiles(UNUSED_PORTS));
  const shown = new Map<string, Set<string>>();
  let trusted: readonly boolean[] = [];
  const file = (name: string): string => join(place.folder, name);

  /** Runs a command that ends with `exit`; what it prints is for this part of the page. */
  async function run(heading: string, exit: number, ...args: readonly string[]): Promise<void> {
    const done = await place.run("ca", ...args, "--json");
    assert.equal(done.exit, exit, `${args.join(" ")}: ${done.stdout}${done.stderr}`);
    const lines = done.stdout.split("\n").filter((line) => line !== "");
    assert.notEqual(lines.length, 0, args.join(" "));
    const known = shown.get(heading) ?? new Set();
    for (const line of lines) for (const path of paths(JSON.parse(line))) known.add(path);
    shown.set(heading, known);
  }

  /** A certificate in a file; its serial number. */
  async function issued(name: string): Promise<string> {
    const token = (await place.run("token", CLIENT)).stdout.trim();
    const outcome = await requestCertificate(place.controlPlane(), buildCsr(generateKey(), CLIENT_IDENTITY), { token });
    assert.ok("answer" in outcome);
    writeFileSync(file(name), outcome.answer[0] ?? "");
    return parseCertificates(outcome.answer[0] ?? "")[0]?.serial ?? "";
  }

  async function agentWithToken(): Promise<void> {
    const agent = place.start(["run", "--workload", CLIENT, "--proxy", "none"], ["sh", "-c", 'echo "at work"; exec sleep 1000']);
    await agent.line(/^at work$/);
    const client = new WorkloadApiTestClient(join(place.state, "run", "shop.client", "workload.sock"));
    await client.jwtSvid(["vault"]);
    client.close();
    await until("the agent follows", async () => {
      const { holders } = (await callAdmin(place.controlPlane().adminSocket, "GET", "/v1/ca/trust")) as {
        readonly holders: readonly { readonly current: boolean }[];
      };
      return holders[0]?.current === true;
    });
  }

  before(async () => {
    await place.serve();
    await agentWithToken();
    const [serial, other] = [await issued("leaf.pem"), await issued("other.pem")];
    const token = (await place.run("token", CLIENT)).stdout.trim();
    await requestCertificate(place.controlPlane(), buildCsr(generateKey(), SERVER_IDENTITY), { token });
    writeFileSync(file("proof"), (await place.run("ca", "prove", serial)).stdout);
    await run("verify-proof", 0, "verify-proof", file("proof"), "--certificate", file("leaf.pem"));
    await run("verify-proof", 1, "verify-proof", file("proof"), "--certificate", file("other.pem"));
    await run("verify-log", 0, "verify-log", "--log-only");
    for (const step of ["prepare", "activate", "revoke"]) await run(JWT_STEPS, 0, step, "--jwt");
    const first = (await place.run("ca", "authorities")).stdout.split("\n")[1]?.slice(0, 12) ?? "";
    await run(STEPS, 0, "prepare", "--dry-run");
    for (const step of ["prepare", "activate"]) await run(STEPS, 0, step);
    await run(STEPS, 1, "revoke", "--authority", first);
    await run("authorities", 0, "authorities");
    await run(STEPS, 0, "taint");
    for (const reason of ["keyCompromise", "superseded"]) await run(REVOKE, 0, "revoke", "--serial", serial, "--reason", reason);
    await run(REVOKE, 0, "revoke", "--key", file("other.pem"));
    await run(REVOKE, 0, "revoke", "--identity", CLIENT);
    await run("revocations", 0, "revocations");
    await run("unblock", 0, "unblock", CLIENT);
    await run("list", 0, "list");
    await run("show", 0, "show", other);
    const before = await place.run("ca", "show", other);
    await run(STEPS, 0, "revoke", "--authority", first, "--force");
    const after = await place.run("ca", "show", other);
    trusted = [before, after].map(
      ({ stdout }) => stdout.includes(`authority              ${first}`) && !stdout.includes("which nobody trusts any more"),
    );
  });

  test("and ca show says of a certificate whose authority was revoked that nobody trusts it", () => {
    assert.deepEqual(trusted, [true, false]);
  });

  for (const heading of ["list", "show", "authorities", STEPS, JWT_STEPS, REVOKE, "revocations", "unblock", "verify-log", "verify-proof"])
    test(`of ca ${heading}`, () => {
      const [fields, seen] = [documented(heading), [...(shown.get(heading) ?? [])]];
      assert.deepEqual(
        seen.filter((path) => !fields.some((field) => isOf(field, path))),
        [],
        "printed and not documented",
      );
      assert.deepEqual(
        fields.filter((field) => !NOT_HERE.has(field) && !seen.some((path) => isOf(field, path))),
        [],
        "documented and not printed",
      );
    });

  test("and who prints none of it says so", async () => {
    const both = await place.run("ca", "revocations", "--crl", "--json");
    assert.deepEqual([both.exit, both.stdout], [2, ""]);
    assert.match(both.stderr, /`--crl` prints PEM: `--json` does not go with it/);
  });
});
