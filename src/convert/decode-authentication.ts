/** `authentication.istio.io/v1alpha1` Policy and MeshPolicy. */
import { dnsLabel } from "../policy/decode/kubernetes-name.ts";
import { LIMITS } from "../policy/decode/limits.ts";
import {
  boolean,
  type Cursor,
  type Decoder,
  type Fields,
  integer,
  list,
  record,
  stringUpTo,
  text,
  wrong,
} from "../policy/decode/reader.ts";
import { nullable, oneOf } from "../policy/decode/refine.ts";
import { either, located, texts } from "./fields.ts";
import type { AuthenticationPolicy, Jwt, OldObject, PathMatch, Target, TriggerRule } from "./old-objects.ts";

const BOUNDS = { max: LIMITS.elements };

// === Targets ===

const UNSUPPORTED_OF_TARGET = { labels: "sidecars never read it: name a service" };

const targetPort: Decoder<number | string> = record((fields) => {
  const number = fields.optional("number", integer(1, 65_535));
  const name = fields.optional("name", text);
  if (number === undefined && name === undefined) return wrong(fields.cursor, "GAR0005", "names no port", "write `number` or `name`");
  return number ?? name;
});

const target: Decoder<Target> = record((fields) => {
  const service = fields.required("name", located(dnsLabel));
  const ports = fields.optional("ports", list(located(targetPort), { max: LIMITS.ports })) ?? [];
  fields.refuse(UNSUPPORTED_OF_TARGET);
  return service === undefined ? undefined : { service, ports };
});

// === Peers ===

const UNSUPPORTED_OF_MTLS = {
  allowTls: "TLS without the client's certificate has no equal: write a `mode`",
  allow_tls: "TLS without the client's certificate has no equal: write a `mode`",
};

const mtls: Decoder<"STRICT" | "PERMISSIVE"> = record((fields) => {
  fields.refuse(UNSUPPORTED_OF_MTLS);
  return fields.optional("mode", oneOf(["STRICT", "PERMISSIVE"])) ?? "STRICT";
});

const UNSUPPORTED_OF_PEER = { jwt: "sidecars never authenticated peers by JWT: write it into `origins`" };

const peer: Decoder<"STRICT" | "PERMISSIVE"> = record((fields) => {
  fields.refuse(UNSUPPORTED_OF_PEER);
  return fields.required("mtls", nullable(mtls, "STRICT"));
});

// === Origins ===

const PATH_KINDS = ["exact", "prefix", "suffix", "regex"] as const;

const pathMatch: Decoder<PathMatch> = record((fields) => {
  const given = PATH_KINDS.flatMap((kind) => {
    const value = fields.optional(kind, text);
    return value === undefined ? [] : [{ kind, text: value }];
  });
  const [value] = given;
  if (value === undefined || given.length > 1)
    return wrong(fields.cursor, "GAR0007", "must be one of exact, prefix, suffix and regex", "write one of them");
  return { value, place: fields.cursor.node.place };
});

const paths = list(pathMatch, BOUNDS);

const triggerRule: Decoder<TriggerRule> = record((fields) => ({
  excluded: either(fields, "excludedPaths", paths) ?? [],
  included: either(fields, "includedPaths", paths) ?? [],
}));

const jwt: Decoder<Jwt> = record((fields) => ({
  issuer: fields.optional("issuer", text),
  audiences: fields.optional("audiences", texts) ?? [],
  jwksUri: either(fields, "jwksUri", text),
  jwks: fields.optional("jwks", stringUpTo(LIMITS.annotation)),
  headers: either(fields, "jwtHeaders", texts) ?? [],
  params: either(fields, "jwtParams", texts) ?? [],
  triggers: either(fields, "triggerRules", list(triggerRule, BOUNDS)) ?? [],
}));

const origin: Decoder<Jwt> = record((fields) => fields.required("jwt", jwt));

// === The whole ===

type Spec = Omit<AuthenticationPolicy, keyof OldObject | "scope">;

const NO_PEERS: Spec = {
  targets: [],
  mode: "DISABLE",
  peerIsOptional: false,
  origins: [],
  originIsOptional: false,
  usesPeerPrincipal: true,
};

/** The first peer that is mutual TLS counts; without one, the sidecar took plaintext only (Pilot's `GetMutualTLS`). */
const spec: Decoder<Spec> = record((fields) => ({
  targets: fields.optional("targets", list(target, BOUNDS)) ?? [],
  mode: fields.optional("peers", list(peer, BOUNDS))?.[0] ?? "DISABLE",
  peerIsOptional: either(fields, "peerIsOptional", boolean) ?? false,
  origins: fields.optional("origins", list(origin, BOUNDS)) ?? [],
  originIsOptional: either(fields, "originIsOptional", boolean) ?? false,
  usesPeerPrincipal: (either(fields, "principalBinding", oneOf(["USE_PEER", "USE_ORIGIN"])) ?? "USE_PEER") === "USE_PEER",
}));

/** Names and targets that Istio's own validation refused. */
function checkScope(cursor: Cursor, scope: AuthenticationPolicy["scope"], name: string, targets: readonly Target[]): void {
  const place = cursor.node.place;
  if (scope === "mesh" && targets.length > 0)
    cursor.report.add("GAR0007", place, "a MeshPolicy has no `targets`", "write a Policy in the services' namespace");
  if (targets.length === 0 && name !== "default")
    cursor.report.add(
      "GAR0007",
      place,
      `a policy without \`targets\` had to be named \`default\`, and this one, \`${name}\`, was never in force`,
      "rename it, or remove it",
    );
}

export function decodeAuthenticationPolicy(
  root: Fields,
  base: OldObject,
  scope: AuthenticationPolicy["scope"],
): AuthenticationPolicy | undefined {
  const decoded = root.optional("spec", nullable(spec, NO_PEERS)) ?? (root.has("spec") ? undefined : NO_PEERS);
  if (decoded === undefined) return undefined;
  checkScope(root.cursor, scope, base.meta.name, decoded.targets);
  return { ...base, scope, ...decoded };
}
