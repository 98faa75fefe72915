/** Everything that the demo tries, as data. */
import { foreignCredentials, meshCredentials } from "./credentials.ts";
import { type Address, type Impostor, startImpostor, tryPlaintext, tryTls } from "./outsider.ts";
import type { Attempt, Effect, Observation } from "./row.ts";
import { REPLICA, type Stage } from "./stage.ts";
import { tryHttp, tryPing } from "./try.ts";

const FRONTEND = "photo-ns/photo-frontend";
const BACKEND = "photo-ns/photo-backend";
const DATASTORE = "datastore-ns/datastore";
const INTRUDER = "photo-ns/intruder";
const READ_PHOTOS = "photo-ns/frontend-reads-photos[0]";
const USE_DATASTORE = "datastore-ns/backend-uses-datastore[0]";

function nameOf(workload: string): string {
  return workload.split("/")[1] ?? workload;
}

type HttpLine = readonly [who: string, to: string, method: string, path: string, expect: Effect, rule: string];

/** Service against service over HTTP: who, whom, what, and which rule must say so. */
const HTTP_LINES: readonly HttpLine[] = [
  [FRONTEND, BACKEND, "GET", "/photos", "allow", READ_PHOTOS],
  [FRONTEND, BACKEND, "GET", "/photos/1", "allow", READ_PHOTOS],
  [FRONTEND, BACKEND, "DELETE", "/photos/1", "deny", "default"],
  [FRONTEND, BACKEND, "GET", "/admin", "deny", "default"],
  [FRONTEND, BACKEND, "GET", "/photos/%2e%2e/admin", "deny", "default"],
  [BACKEND, FRONTEND, "GET", "/", "deny", "default"],
  [DATASTORE, FRONTEND, "GET", "/", "deny", "default"],
  [DATASTORE, BACKEND, "GET", "/photos", "deny", "default"],
  [INTRUDER, FRONTEND, "GET", "/", "deny", "default"],
  [INTRUDER, BACKEND, "GET", "/photos", "deny", "default"],
];

type PingLine = readonly [who: string, port: string, how: string, expect: Effect, rule: string];

/** Everybody against the datastore, over plain TCP. */
const PING_LINES: readonly PingLine[] = [
  [BACKEND, "tcp-redis", "PING datastore", "allow", USE_DATASTORE],
  [BACKEND, "tcp-redis-unix", "PING datastore, by its Unix socket", "allow", USE_DATASTORE],
  [FRONTEND, "tcp-redis", "PING datastore", "deny", "default"],
  [INTRUDER, "tcp-redis", "PING datastore", "deny", "default"],
];

function identityOf(stage: Stage, workload: string): string {
  return stage.workloads.get(workload)?.identity ?? "";
}

function httpAttempt(stage: Stage, [who, to, method, path, expect, rule]: HttpLine): Attempt {
  const service = nameOf(to);
  return {
    who: nameOf(who),
    what: `${method} ${service}${path}`,
    expect,
    rule,
    record: { workload: to, caller: identityOf(stage, who), effect: expect },
    run: () => tryHttp(stage, who, service, method, path),
  };
}

function pingAttempt(stage: Stage, [who, port, what, expect, rule]: PingLine): Attempt {
  return {
    who: nameOf(who),
    what,
    expect,
    rule,
    record: { workload: DATASTORE, caller: identityOf(stage, who), effect: expect },
    run: () => tryPing(stage, who, "datastore", port),
  };
}

/** Who calls whom over HTTP, each pair once. */
export const HTTP_PAIRS: readonly (readonly [who: string, service: string])[] = HTTP_LINES.map(
  ([who, to]) => [who, nameOf(to)] as const,
).filter(
  ([who, service], index, all) => all.findIndex(([otherWho, otherService]) => otherWho === who && otherService === service) === index,
);

/** Where a workload's proxy accepts peers. */
function ingressOf(stage: Stage, workload: string): Address {
  const [first] = stage.workloads.get(workload)?.ingress ?? [];
  if (first === undefined) throw new Error(`the example's workload ${workload} has no ingress`);
  return { host: first.host, port: first.port };
}

const HTTP_PAYLOAD = "GET /photos HTTP/1.1\r\nHost: photo-backend\r\n\r\n";
const PING_PAYLOAD = "PING\r\n";

/** From outside: no TLS, no certificate, a certificate of another CA, a valid one of the wrong account. */
function outsiderAttempts(stage: Stage): readonly Attempt[] {
  const backend = ingressOf(stage, BACKEND);
  const datastore = ingressOf(stage, DATASTORE);
  const attempt = (who: string, what: string, workload: string, run: () => Promise<Observation>): Attempt => {
    return { who, what, expect: "refused", rule: undefined, record: { workload, caller: "", effect: "refused" }, run };
  };
  return [
    attempt("outsider", "GET photo-backend in plaintext", BACKEND, () => tryPlaintext(backend, HTTP_PAYLOAD)),
    attempt("outsider", "PING datastore in plaintext", DATASTORE, () => tryPlaintext(datastore, PING_PAYLOAD)),
    attempt("outsider", "GET photo-backend without a certificate", BACKEND, () => tryTls(backend, HTTP_PAYLOAD, undefined)),
    attempt("outsider", "GET photo-backend as photo-frontend, by another CA", BACKEND, () =>
      tryTls(backend, HTTP_PAYLOAD, foreignCredentials(identityOf(stage, FRONTEND))),
    ),
    {
      ...attempt("outsider", "GET photo-backend with a valid certificate of intruder", BACKEND, async () => {
        const observation = await tryTls(backend, HTTP_PAYLOAD, await meshCredentials(stage, INTRUDER));
        return observation.saw.includes(" 403 ") ? { effect: "deny", saw: "403" } : observation;
      }),
      expect: "deny",
      rule: "default",
      record: { workload: BACKEND, caller: identityOf(stage, INTRUDER), effect: "deny" },
    },
  ];
}

/** The replica's port, taken by a server with the intruder's certificate: secure naming must not send it a byte. */
function impostorAttempt(stage: Stage): Attempt {
  return {
    who: nameOf(BACKEND),
    what: "PING datastore-replica, where intruder answers",
    expect: "refused",
    rule: undefined,
    record: { workload: BACKEND, caller: identityOf(stage, BACKEND), effect: "refused" },
    run: async () => {
      const impostor: Impostor = await startImpostor(ingressOf(stage, REPLICA), await meshCredentials(stage, INTRUDER));
      try {
        const { effect, saw } = await tryPing(stage, BACKEND, "datastore-replica", "tcp-redis");
        const stolen = impostor.stolen();
        return { effect: effect === "deny" && stolen === 0 ? "refused" : "allow", saw: `${saw}, ${stolen} bytes sent` };
      } finally {
        await impostor.close();
      }
    },
  };
}

/** The whole matrix, in the order in which it is tried. */
export function attempts(stage: Stage): readonly Attempt[] {
  return [
    ...HTTP_LINES.map((line) => httpAttempt(stage, line)),
    ...PING_LINES.map((line) => pingAttempt(stage, line)),
    ...outsiderAttempts(stage),
    impostorAttempt(stage),
  ];
}
