/** What the SPIFFE Workload API answers for the one workload of this agent (SPIFFE Workload API §4 to §6). */

import type { Metadata } from "@grpc/grpc-js";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import { parseCertificates } from "../x509/certificate.ts";
import type { IssuedCertificate } from "./issued-certificate.ts";
import { parseJwtKeys, readToken, validateJwtSvid } from "./jwt-bundle.ts";
import type { JwtSvids } from "./jwt-svids.ts";
import { rootsVersion } from "./secrets.ts";
import {
  encodeJwtBundles,
  encodeJwtSvid,
  encodeValidated,
  encodeX509Bundles,
  encodeX509Svid,
  type JwtSvidRequest,
  type ValidateRequest,
} from "./workload-api-messages.ts";
import type { Updates } from "./workload-api-stream.ts";

export interface WorkloadApiOptions {
  /** The workload's SPIFFE ID. */
  readonly identity: string;
  /** The certificate, while there is one that is valid. */
  readonly certificate: () => IssuedCertificate | undefined;
  /** Told of each new certificate. */
  readonly subscribe: (listener: () => void) => () => void;
  readonly jwtSvids: JwtSvids;
  readonly clock: Clock;
}

/** §3: it keeps requests out that a program was tricked into making for somebody else. */
const SECURITY_HEADER = "workload.spiffe.io";

/** Throws `invalid-argument` for a request without the header. */
export function checkSecurityHeader(metadata: Metadata): void {
  const values = metadata.get(SECURITY_HEADER);
  if (values.length === 1 && values[0] === "true") return;
  throw new AppError("invalid-argument", `the request has no metadata \`${SECURITY_HEADER}: true\``, {
    help: "use a SPIFFE Workload API client",
  });
}

const derOf = (pem: string) => Buffer.concat(parseCertificates(pem).map(({ der }) => der));

const idOf = (trustDomain: string) => `spiffe://${trustDomain}`;

/** By the SPIFFE IDs of the trust domains. */
function othersOf({ otherRoots = new Map() }: Pick<IssuedCertificate, "otherRoots">): ReadonlyMap<string, Uint8Array> {
  return new Map([...otherRoots].map(([trustDomain, roots]) => [idOf(trustDomain), derOf(roots)]));
}

function noCertificate(): AppError {
  return new AppError("unavailable", "the workload has no valid certificate now");
}

/** `FetchX509SVID`. */
export function x509Svids({ identity, certificate, subscribe }: WorkloadApiOptions): Updates {
  return {
    subscribe,
    nothing: noCertificate,
    current: () => {
      const current = certificate();
      if (current === undefined) return undefined;
      const { serial, chain, privateKey, roots } = current;
      return {
        version: `${serial} ${rootsVersion(current)}`,
        encode: () =>
          encodeX509Svid({
            identity,
            chain: derOf(chain),
            privateKey: privateKey.export({ type: "pkcs8", format: "der" }),
            bundle: derOf(roots),
            federated: othersOf(current),
          }),
      };
    },
  };
}

/** The key of the trust domain in a map of bundles. */
function trustDomainId(identity: string): string {
  return idOf(parseSpiffeId(identity).trustDomain);
}

/** `FetchX509Bundles`. */
export function x509Bundles({ identity, certificate, subscribe }: WorkloadApiOptions): Updates {
  return {
    subscribe,
    nothing: noCertificate,
    current: () => {
      const current = certificate();
      if (current === undefined) return undefined;
      const bundles = () => new Map([[trustDomainId(identity), derOf(current.roots)], ...othersOf(current)]);
      return { version: rootsVersion(current), encode: () => encodeX509Bundles(bundles()) };
    },
  };
}

/** `FetchJWTBundles`. */
export function jwtBundles({ identity, jwtSvids, subscribe }: WorkloadApiOptions): Updates {
  // Asked for again when there is a certificate to ask with.
  const want = () => void jwtSvids.bundle().catch(() => undefined);
  return {
    subscribe: (listener) => {
      const ends = [jwtSvids.subscribe(listener), subscribe(want)];
      want();
      return () => {
        for (const end of ends) end();
      };
    },
    nothing: () => new AppError("unavailable", "the keys of JWT-SVIDs are not known yet"),
    current: () => {
      const jwks = jwtSvids.current?.jwks;
      if (jwks === undefined) return undefined;
      const others = [...jwtSvids.others].map(([trustDomain, keys]) => [idOf(trustDomain), keys] as const);
      return {
        version: JSON.stringify([jwks, others]),
        encode: () => encodeJwtBundles(new Map([[trustDomainId(identity), jwks], ...others])),
      };
    },
  };
}

/** `FetchJWTSVID`. Throws `invalid-argument` without an audience, `permission-denied` for another identity than the workload's. */
export async function fetchJwtSvid(options: WorkloadApiOptions, { audiences, identity }: JwtSvidRequest): Promise<Buffer> {
  if (audiences.length === 0 || audiences.includes("")) throw new AppError("invalid-argument", "the request names no audience");
  if (identity !== "" && identity !== options.identity)
    throw new AppError("permission-denied", "the workload has one identity, and this is another one");
  return encodeJwtSvid(options.identity, await options.jwtSvids.fetch(audiences));
}

/** `ValidateJWTSVID`. Throws `invalid-argument` for a token that is not good, `unavailable` while there are no keys to tell. */
export async function validate({ identity, jwtSvids, clock }: WorkloadApiOptions, { audience, token }: ValidateRequest): Promise<Buffer> {
  if (audience === "") throw new AppError("invalid-argument", "the request names no audience");
  const { kid, claims } = readToken(token);
  // Whose keys are asked is the token's own word; by these it then proves that it is of that domain.
  const [, named = ""] = /^spiffe:\/\/([^/]+)\//.exec(typeof claims.sub === "string" ? claims.sub : "") ?? [];
  const other = jwtSvids.others.get(named);
  const keys = other === undefined ? (await jwtSvids.bundleWith(kid)).keys : parseJwtKeys(other);
  const trustDomain = other === undefined ? parseSpiffeId(identity).trustDomain : named;
  const valid = validateJwtSvid(token, keys, { audience, trustDomain, now: clock.now() });
  return encodeValidated(valid.identity, valid.claims);
}
