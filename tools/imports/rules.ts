/** Which folder of `src` may import which: the picture in the design, as data. */

/** Lowest first. Each folder may import every folder of a lower level, and none of its own level or above. */
const LEVELS: readonly (readonly string[])[] = [
  ["core"],
  ["identity"],
  ["policy"],
  ["mesh", "convert"],
  ["compile"],
  ["render/envoy", "render/decide", "analyze"],
  ["sources", "xds", "ca", "audit", "jwks", "agent", "proxy", "capture"],
  ["prove", "install"],
  ["server", "cli"],
];

interface SideFolder {
  readonly imports: readonly string[];
  readonly importedBy: readonly string[];
}

/** Folders beside the levels: what they import, and who may import them. */
const SIDE_FOLDERS: Readonly<Record<string, SideFolder>> = {
  gen: { imports: [], importedBy: ["render/envoy", "rpc", "xds", "ca", "audit", "agent", "proxy", "prove", "server", "cli"] },
  rpc: { imports: ["core", "identity", "gen"], importedBy: ["xds", "ca", "audit", "agent", "proxy", "prove", "server", "cli"] },
  x509: { imports: ["core", "identity"], importedBy: ["ca", "agent", "proxy", "prove", "server"] },
};

/** Part of a folder's picture that the levels do not say. */
interface Particular {
  readonly from: string;
  /** Modules, and folders with their trailing slash. */
  readonly to: readonly string[];
  readonly reason: string;
}

/** Imports that are meant, though the levels or the side folders do not have them. */
const ALLOWED: readonly Particular[] = [
  { from: "cli", to: ["server/"], reason: "`garrison serve` starts the control plane; the server knows no command line" },
  { from: "proxy", to: ["xds/client.ts"], reason: "the embedded proxy is a client of the xDS protocol and shares its one implementation" },
  { from: "cli", to: ["x509/"], reason: "`garrison demo` plays impostors, with keys and certificates of their own" },
  { from: "agent", to: ["render/envoy/bootstrap.ts"], reason: "the bootstrap is written where the proxy is started" },
];

/** Downward imports that are refused all the same, unless ALLOWED names them. */
const REFUSED: readonly Particular[] = [
  {
    from: "agent",
    to: ["policy/", "mesh/", "compile/", "render/", "analyze/"],
    reason: "the agent stays small: it carries neither policies nor Envoy's messages",
  },
  {
    from: "xds",
    to: ["policy/", "mesh/", "compile/", "render/", "analyze/"],
    reason: "the xDS server delivers resources and knows no policy",
  },
];

/** Folders that import no `node:` module and no package. */
export const PURE_FOLDERS: ReadonlySet<string> = new Set([
  "core",
  "identity",
  "policy",
  "convert",
  "mesh",
  "compile",
  "render/decide",
  "analyze",
]);

const KNOWN: ReadonlySet<string> = new Set([...LEVELS.flat(), ...Object.keys(SIDE_FOLDERS)]);

/** The folder of the picture that a path below `src` (`render/envoy/inbound.ts`) is in; undefined when the picture lacks it. */
export function folderOf(path: string): string | undefined {
  const [first = "", second = ""] = path.split("/");
  return [first, `${first}/${second}`].find((folder) => KNOWN.has(folder));
}

function levelOf(folder: string): number {
  return LEVELS.findIndex((level) => level.includes(folder));
}

function find(rows: readonly Particular[], from: string, to: string): Particular | undefined {
  return rows.find((row) => row.from === from && row.to.some((place) => (place.endsWith("/") ? to.startsWith(place) : to === place)));
}

/** Why a module of `from` may not import the module `to` (a path below `src`, in the folder `toFolder`); undefined when it may. */
export function refusal(from: string, toFolder: string, to: string): string | undefined {
  if (from === toFolder || find(ALLOWED, from, to) !== undefined) return undefined;
  const side = SIDE_FOLDERS[toFolder];
  if (side?.importedBy.includes(from) === true || SIDE_FOLDERS[from]?.imports.includes(toFolder) === true) return undefined;
  if (side !== undefined) return `only ${side.importedBy.join(", ")} may import ${toFolder}`;
  if (SIDE_FOLDERS[from] !== undefined) return `${from} may import only ${["packages", ...SIDE_FOLDERS[from].imports].join(", ")}`;
  const refused = find(REFUSED, from, to);
  if (refused !== undefined) return refused.reason;
  if (levelOf(toFolder) < levelOf(from)) return undefined;
  if (levelOf(toFolder) === levelOf(from)) return `${from} and ${toFolder} are siblings: what both need belongs below them`;
  return `${toFolder} is above ${from}: imports go down only`;
}
