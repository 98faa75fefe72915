/** The tiers of tests: which files each has, and what it needs that `npm ci` does not bring. */
import { globSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import process from "node:process";
import { findEnvoy } from "../../src/cli/find-envoy.ts";
import { AppError } from "../../src/core/error.ts";
import { SOFTHSM_MODULE } from "../../test/fixture/softhsm.ts";
import { findExecutable } from "./executables.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** What a tier needs is there, and this tells the tests where; or it is not. */
type Availability = { readonly ready: true; readonly env: Environment } | { readonly ready: false; readonly reason: string };

export interface Tier {
  readonly name: string;
  readonly patterns: readonly string[];
  /** Test files at a time; undefined is one for each core. */
  readonly concurrency: number | undefined;
  readonly available: () => Promise<Availability>;
  /** How to get what it needs: one sentence. */
  readonly howToGet: string;
  /** Set when every tier is required, so that its tests fail where they would skip themselves. */
  readonly required: Environment;
}

const ALWAYS: Pick<Tier, "available" | "howToGet" | "required"> = {
  available: async () => ({ ready: true, env: {} }),
  howToGet: "",
  required: {},
};

async function envoy(): Promise<Availability> {
  try {
    const found = await findEnvoy();
    return found === undefined ? { ready: false, reason: "there is no `envoy`" } : { ready: true, env: { ENVOY_PATH: found.path } };
  } catch (error) {
    const { message, where } = AppError.from(error);
    return { ready: false, reason: where === undefined ? message : `${message} (${where})` };
  }
}

/** In the order in which they are missed. */
const NETWORK_PROGRAMS = ["nft", "ip", "setpriv", "curl", "dig", "redis-server", "redis-cli", "psql", "mariadbd"];

/** Namespaces of the network are root's to make. */
async function network(): Promise<Availability> {
  if (process.getuid?.() !== 0) return { ready: false, reason: "this user is not root" };
  const folders = (process.env.PATH ?? "").split(delimiter);
  const missing = NETWORK_PROGRAMS.find((name) => findExecutable(folders, [name]) === undefined);
  return missing === undefined ? envoy() : { ready: false, reason: `there is no \`${missing}\`` };
}

const GO_TOOLS = ["spiffe-client", "istio-csr-client", "spiffe-helper", "grpcurl", "tlog-verify", "zlint", "helm"];

async function goTools(): Promise<Availability> {
  const folder = process.env.GARRISON_GO_TOOLS ?? join(dirname(dirname(import.meta.dirname)), ".tools", "go", "bin");
  const missing = GO_TOOLS.find((name) => findExecutable([folder], [name]) === undefined);
  return missing === undefined
    ? { ready: true, env: { GARRISON_GO_TOOLS: folder } }
    : { ready: false, reason: `there is no \`${missing}\` in \`${folder}\`` };
}

/** A CA that others wrote, which signs for ours. */
async function stepCa(): Promise<Availability> {
  const folder = process.env.GARRISON_GO_TOOLS ?? join(dirname(dirname(import.meta.dirname)), ".tools", "go", "bin");
  const path = findExecutable([folder], ["step-ca"]);
  return path === undefined
    ? { ready: false, reason: `there is no \`step-ca\` in \`${folder}\`` }
    : { ready: true, env: { STEP_CA_PATH: path } };
}

/** A software HSM, as Debian has it. */
async function token(): Promise<Availability> {
  const tool = findExecutable((process.env.PATH ?? "").split(delimiter), ["softhsm2-util"]);
  if (tool === undefined) return { ready: false, reason: "there is no `softhsm2-util`" };
  return SOFTHSM_MODULE === "" ? { ready: false, reason: "there is no `libsofthsm2.so`" } : { ready: true, env: {} };
}

/** In the order in which they are missed; envtest's own folders have no controllers. */
const KUBE_PROGRAMS = ["kube-apiserver", "kube-controller-manager", "etcd"];

/** The convention of envtest, or what `npm run setup:kube` has built. */
async function kubernetes(): Promise<Availability> {
  const folder = process.env.KUBEBUILDER_ASSETS || join(import.meta.dirname, "..", "..", ".tools", "kube");
  const missing = KUBE_PROGRAMS.find((name) => findExecutable([folder], [name]) === undefined);
  if (missing !== undefined) return { ready: false, reason: `there is no \`${missing}\` in \`${folder}\`` };
  const tools = await goTools();
  return { ready: true, env: { KUBEBUILDER_ASSETS: folder, ...(tools.ready ? tools.env : {}) } };
}

/** Hosts of a network of their own, and API servers. */
async function clusters(): Promise<Availability> {
  const [hosts, servers] = [await network(), await kubernetes()];
  if (!hosts.ready || !servers.ready) return hosts.ready ? servers : hosts;
  return { ready: true, env: { ...hosts.env, ...servers.env } };
}

async function browser(): Promise<Availability> {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const path = process.env.CHROMIUM_PATH ?? findExecutable(folders, ["chromium", "google-chrome"]);
  return path ? { ready: true, env: { CHROMIUM_PATH: path } } : { ready: false, reason: "there is no `chromium`" };
}

/** In the order in which they run: the quick ones first. */
export const TIERS: readonly Tier[] = [
  { name: "unit", patterns: ["src/**/*.test.ts", "test/{tooling,fakes}/**/*.test.ts"], concurrency: undefined, ...ALWAYS },
  { name: "feature", patterns: ["test/{feature,corpus,golden}/**/*.test.ts"], concurrency: undefined, ...ALWAYS },
  {
    name: "envoy",
    patterns: ["test/envoy/**/*.test.ts"],
    concurrency: 1,
    available: envoy,
    howToGet: "run `npm run setup:envoy`, or set `ENVOY_PATH`",
    required: { GARRISON_REQUIRE_ENVOY: "1" },
  },
  {
    name: "network",
    patterns: ["test/network/**/*.test.ts"],
    concurrency: 1,
    available: network,
    howToGet:
      "run as root, with `npm run setup:envoy` and the packages nftables, iproute2, bind9-dnsutils, redis-server, postgresql and mariadb-server",
    required: { GARRISON_REQUIRE_ENVOY: "1" },
  },
  {
    name: "go",
    patterns: ["test/go/**/*.test.ts"],
    concurrency: 1,
    available: goTools,
    howToGet: "run `npm run setup:go` where there is Go, or Python",
    required: { GARRISON_REQUIRE_GO: "1" },
  },
  {
    name: "step-ca",
    patterns: ["test/step-ca/**/*.test.ts"],
    concurrency: 1,
    available: stepCa,
    howToGet: "run `npm run setup:go` where there is Go, or Python",
    required: {},
  },
  {
    name: "token",
    patterns: ["test/token/**/*.test.ts"],
    concurrency: 1,
    available: token,
    howToGet: "install SoftHSM (`apt-get install softhsm2`)",
    required: {},
  },
  {
    name: "kube",
    patterns: ["test/kube/**/*.test.ts"],
    concurrency: 2,
    available: kubernetes,
    howToGet:
      "run `npm run setup:kube` (with Go 1.26), or set `KUBEBUILDER_ASSETS` to a folder with `kube-apiserver`, `kube-controller-manager` and `etcd`; one test wants root and `npm run setup:go`",
    required: { GARRISON_REQUIRE_KUBE: "1", GARRISON_REQUIRE_GO: "1" },
  },
  {
    name: "clusters",
    patterns: ["test/clusters/**/*.test.ts"],
    concurrency: 1,
    available: clusters,
    howToGet: "get what the tiers `network` and `kube` need",
    required: { GARRISON_REQUIRE_ENVOY: "1", GARRISON_REQUIRE_KUBE: "1" },
  },
  {
    name: "browser",
    patterns: ["test/browser/**/*.test.ts"],
    concurrency: 1,
    available: browser,
    howToGet: "install Chromium (`apt-get install chromium`), or set `CHROMIUM_PATH`",
    required: { GARRISON_REQUIRE_BROWSER: "1" },
  },
];

function isTest(path: string): boolean {
  return path.endsWith(".test.ts") && !path.includes("node_modules/");
}

/** A tier's test files, relative to the root, sorted. */
export function filesOf(root: string, tier: Tier): readonly string[] {
  return globSync([...tier.patterns], { cwd: root })
    .filter(isTest)
    .sort();
}

/** Test files that no tier runs: a mistake, since nobody would notice that they fail. */
export function strayFiles(root: string): readonly string[] {
  const known = new Set(TIERS.flatMap((tier) => filesOf(root, tier)));
  const all = globSync("{src,test,tools,bin,bench,examples,web}/**/*.test.*", { cwd: root });
  return all.filter((path) => !path.includes("node_modules/") && !known.has(path)).sort();
}
