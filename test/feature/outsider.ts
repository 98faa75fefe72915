/** Somebody who is not of the mesh: HTTPS with a CA of their own, by name, and perhaps with a certificate. */
import { connect as connectHttp2 } from "node:http2";
import { request } from "node:https";
import { connect } from "node:tls";
import type { OutsideCertificate } from "../fakes/outside-ca.ts";

export interface Ask {
  readonly port: number;
  readonly path: string;
  /** PEM of the CA that vouches for the server. */
  readonly ca: string;
  /** The name that TLS asks for, and Host unless that says another. */
  readonly name: string;
  readonly host?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly certificate?: OutsideCertificate;
}

export interface Reply {
  /** 0: there was no answer. */
  readonly status: number;
  readonly body: string;
  readonly location: string | undefined;
  /** The server's certificate, PEM. */
  readonly server: string;
}

const TIMEOUT_MS = 10_000;
const NONE: Reply = { status: 0, body: "", location: undefined, server: "" };

/** One request on a connection of its own. */
export function ask({ port, path, ca, name, host = name, method = "GET", headers = {}, certificate }: Ask): Promise<Reply> {
  const { promise, resolve } = Promise.withResolvers<Reply>();
  const own = certificate === undefined ? {} : { cert: certificate.cert, key: certificate.key };
  const address = { host: "127.0.0.1", port, servername: name, ca, ...own, agent: false, timeout: TIMEOUT_MS } as const;
  const sent = request({ ...address, path, method, headers: { host, ...(headers as Record<string, string | string[]>) } }, (response) => {
    const server = (response.socket as import("node:tls").TLSSocket).getPeerX509Certificate()?.toString() ?? "";
    let body = "";
    response.setEncoding("utf8").on("data", (text: string) => {
      body += text;
    });
    response.once("error", () => resolve(NONE));
    response.once("end", () => resolve({ status: response.statusCode ?? 0, body, location: response.headers.location, server }));
  });
  sent.once("timeout", () => sent.destroy());
  sent.once("error", () => resolve(NONE));
  sent.end();
  return promise;
}

/** The statuses of requests for these hosts on one HTTP/2 connection. */
export async function askHosts({ port, path, ca, name, headers = {} }: Ask, hosts: readonly string[]): Promise<readonly number[]> {
  const session = connectHttp2(`https://${name}:${port}`, {
    createConnection: () => connect({ host: "127.0.0.1", port, servername: name, ca, ALPNProtocols: ["h2"] }),
  });
  session.on("error", () => undefined);
  try {
    const statuses: number[] = [];
    for (const host of hosts) {
      const { promise, resolve } = Promise.withResolvers<number>();
      const stream = session.request({ ":path": path, ":authority": host, ...(headers as Record<string, string | string[]>) });
      stream.once("response", (answer) => resolve(answer[":status"] ?? 0)).once("error", () => resolve(0));
      stream.resume();
      statuses.push(await promise);
    }
    return statuses;
  } finally {
    session.destroy();
  }
}
