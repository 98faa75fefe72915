/** Keys that a control plane will not fetch, as far as their addresses alone tell: nothing is looked up, and nobody asked. */
import type { Diagnostic } from "../core/diagnostic.ts";
import { AppError } from "../core/error.ts";
import { quote } from "../policy/decode/report.ts";
import type { IpBlock } from "../policy/ip-block.ts";
import type { MeshObject } from "../policy/model.ts";
import { AddressGuard } from "./address-guard.ts";
import { checkHost } from "./fetch.ts";

/** Names of no public host: of this machine, of a cluster, of a network (RFC 6761, RFC 6762, ICANN's `internal`), and without a dot. */
const PRIVATE_NAME = /^[^.]+$|(?:^|\.)(?:localhost|local|internal|svc)$/;

/** Why the host of a URL is not asked; undefined where it is, or where only looking it up would tell. */
function refusalOf(url: URL, allowed: readonly IpBlock[]): string | undefined {
  try {
    checkHost(url, new AddressGuard(allowed));
  } catch (thrown) {
    return AppError.from(thrown).message;
  }
  const isName = !/^[\d.]+$|^\[/.test(url.hostname);
  if (!isName || allowed.length > 0) return undefined;
  if (PRIVATE_NAME.test(url.hostname)) return `the name ${quote(url.hostname)} is not of the public internet`;
  return url.protocol === "https:" ? undefined : `the name ${quote(url.hostname)} may be asked by HTTPS only`;
}

/** Of the RequestAuthentications, the rules whose tokens will all be refused since their keys are not fetched. `allowed`: as `--jwks-allow` says. */
export function refusedSources(objects: readonly MeshObject[], allowed: readonly IpBlock[]): readonly Diagnostic[] {
  return objects.flatMap((object): readonly Diagnostic[] => {
    if (object.kind !== "RequestAuthentication" || object.jwtRules === "invalid") return [];
    const { namespace, name, place } = object.meta;
    return object.jwtRules.flatMap(({ jwks }, index): Diagnostic[] => {
      const why = jwks.kind === "inline" || !URL.canParse(jwks.url) ? undefined : refusalOf(new URL(jwks.url), allowed);
      if (why === undefined) return [];
      const message = `the keys of \`jwtRules[${index}]\` of RequestAuthentication \`${namespace}/${name}\` are not fetched: ${why}`;
      const help = "if it is on purpose, say `--jwks-allow ADDRESS/PREFIX` here and to `garrison serve`, which then asks there";
      return [{ code: "GAR0224", message, place, help }];
    });
  });
}
