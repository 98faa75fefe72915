/** Whether the roots that the mesh's configuration names can be trusted roots: what a proxy would refuse, or take otherwise than another, never reaches one. */
import type { Diagnostic } from "../../core/diagnostic.ts";
import { AppError } from "../../core/error.ts";
import type { RootsSource } from "../../policy/mesh-config.ts";
import { type Certificate, parseCertificates, publicKeyOf } from "../../x509/certificate.ts";
import { KEY_USAGE } from "../../x509/extensions.ts";
import { verifySigned } from "../../x509/signed.ts";

/** What the mesh is called: its trust domain, then its aliases. */
export type MeshNames = readonly [string, ...(readonly string[])];

const HELP = "name the self-signed certificate of a CA; until it is mended the mesh's last valid configuration stays in force";
/** Policies mean the mesh itself by it, whatever its name. */
const EVERY_MESH = "cluster.local";

/** The domains whose identities the roots of a source verify. */
export function domainsOf({ trustDomains }: RootsSource, names: MeshNames): readonly string[] {
  return trustDomains.length === 0 ? names : trustDomains;
}

function isOf(uri: string, domains: readonly string[]): boolean {
  return domains.some((domain) => uri === `spiffe://${domain}` || uri.startsWith(`spiffe://${domain}/`));
}

/** Why it can be no root of these domains; undefined when it can. Throws `invalid-argument` for a key of a kind that is not accepted. */
function rootFlaw(root: Certificate, domains: readonly string[]): string | undefined {
  if (!root.isCa) return "is not a CA's";
  if (((root.keyUsage ?? 0) & KEY_USAGE.keyCertSign) === 0) return "has no key usage `keyCertSign`";
  if (root.unprocessed.length > 0) return "has an extension that must be processed and is not supported";
  const stray = root.names.find(({ kind, value }) => kind === "uri" && !isOf(value, domains));
  if (stray !== undefined) return `is of another trust domain: \`${stray.value.slice(0, 100)}\``;
  const selfSigned = Buffer.compare(root.subject, root.issuer) === 0 && verifySigned(root.signed, publicKeyOf(root));
  return selfSigned ? undefined : "is not signed by itself, and so is no root";
}

function rootsOf(pem: string, domains: readonly string[]): readonly Certificate[] {
  const roots = parseCertificates(pem);
  for (const root of roots) {
    const flaw = rootFlaw(root, domains);
    if (flaw !== undefined) throw new AppError("invalid-argument", `a certificate ${flaw}`);
  }
  return roots;
}

/** What one source says, and what is wrong with it. */
interface Read {
  readonly roots: readonly Certificate[];
  readonly diagnostics: readonly Diagnostic[];
}

function read({ path, place, from }: RootsSource, domains: readonly string[]): Read {
  try {
    return { roots: from.kind === "pem" ? rootsOf(from.pem, domains) : [], diagnostics: [] };
  } catch (thrown) {
    const message = `\`${path}\` cannot be used: ${AppError.from(thrown).message}`;
    return { roots: [], diagnostics: [{ code: "GAR0320", message, place, help: HELP }] };
  }
}

function expiryOf({ path, place }: RootsSource, { notBefore, notAfter }: Certificate, now: number): readonly Diagnostic[] {
  if (notBefore <= now && now <= notAfter) return [];
  const [what, when] = now > notAfter ? ["has expired", notAfter] : ["is not valid yet", notBefore];
  const message = `a root of \`${path}\` ${what} (${new Date(when).toISOString()}): nobody is verified by it`;
  return [{ code: "GAR0321", message, place, help: "take it out, or put a valid one in its place" }];
}

function nameFlaw({ path, place, trustDomains }: RootsSource, names: MeshNames): readonly Diagnostic[] {
  if (!trustDomains.some((name) => name === EVERY_MESH) || names.includes(EVERY_MESH)) return [];
  const message = `\`${path}\` is of \`${EVERY_MESH}\`, which cannot be told from the mesh itself: policies mean it by that name`;
  return [{ code: "GAR0320", message, place, help: HELP }];
}

/** Bundles that are fetched are looked at when they come. `now` in milliseconds. */
export function checkRoots(sources: readonly RootsSource[], names: MeshNames, now: number): readonly Diagnostic[] {
  const known = new Map<string, string>();
  return sources.flatMap((source): readonly Diagnostic[] => {
    const domains = domainsOf(source, names);
    const { roots, diagnostics } = read(source, domains);
    const repeated = roots.flatMap(({ der }): readonly Diagnostic[] => {
      const keys = domains.map((domain) => `${domain} ${Buffer.from(der).toString("base64")}`);
      const before = keys.map((key) => known.get(key)).find((path) => path !== undefined);
      for (const key of keys) known.set(key, source.path);
      if (before === undefined) return [];
      const message = `a root of \`${source.path}\` is there already, in \`${before}\``;
      return [{ code: "GAR0322", message, place: source.place, help: "take it out in one of the places" }];
    });
    return [...nameFlaw(source, names), ...diagnostics, ...roots.flatMap((root) => expiryOf(source, root, now)), ...repeated];
  });
}
