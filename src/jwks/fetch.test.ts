import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { after, describe, it } from "node:test";
import { SigningKey } from "../../test/fixture/tokens.ts";
import { parseIpBlock } from "../policy/ip-block.ts";
import { AddressGuard } from "./address-guard.ts";
import { downloadJwks } from "./download.ts";
import { type FetchOptions, fetchText, type Resolve } from "./fetch.ts";

const LOOPBACK = { guard: new AddressGuard([parseIpBlock("127.0.0.1")]) };
const NOBODY = { guard: new AddressGuard([]) };

const servers: ReturnType<typeof createServer>[] = [];
after(() => {
  for (const server of servers) server.close().closeAllConnections();
});

/** A server with what it was asked for. */
async function serve(listener: RequestListener): Promise<{ readonly port: number; readonly url: string; readonly asked: string[] }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.headers.host} ${request.url}`);
    listener(request, response);
  });
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return { port, url: `http://127.0.0.1:${port}`, asked };
}

/** A resolver that answers these addresses, one after the other: the name of an attacker. */
function resolving(...addresses: readonly string[]): Resolve {
  let next = 0;
  return (_hostname, _options, callback) => {
    const address = addresses[Math.min(next, addresses.length - 1)] ?? "";
    next += 1;
    callback(null, [{ address, family: address.includes(":") ? 6 : 4 }]);
  };
}

const refusedCode = { code: "permission-denied" };

describe("fetching a document", () => {
  it("answers its text, where the address is allowed", async () => {
    const { url, asked } = await serve((_request, response) => response.end("hello"));
    assert.equal(await fetchText(`${url}/jwks?a=b`, 5_000, LOOPBACK), "hello");
    assert.match(asked.join(), /\/jwks\?a=b$/);
  });

  for (const host of ["127.0.0.1", "[::1]", "2130706433", "0x7f.1", "127.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0"]) {
    it(`sends nothing to \`${host}\`, which is this machine`, async () => {
      const { port, asked } = await serve((_request, response) => response.end("secret"));
      await assert.rejects(fetchText(`http://${host}:${port}/`, 5_000, NOBODY), refusedCode);
      assert.deepEqual(asked, []);
    });
  }

  it("sends nothing to a name that leads to this machine", async () => {
    const { port, asked } = await serve((_request, response) => response.end("secret"));
    await assert.rejects(fetchText(`http://localhost:${port}/`, 5_000, NOBODY), refusedCode);
    await assert.rejects(
      fetchText(`https://attacker.example:${port}/`, 5_000, { ...NOBODY, resolve: resolving("127.0.0.1") }),
      refusedCode,
    );
    assert.deepEqual(asked, []);
  });

  it("refuses a name of which any address is refused", async () => {
    const resolve: Resolve = (_hostname, _options, callback) =>
      callback(null, [
        { address: "127.0.0.1", family: 4 },
        { address: "169.254.169.254", family: 4 },
      ]);
    await assert.rejects(fetchText("http://attacker.example/", 5_000, { ...LOOPBACK, resolve }), refusedCode);
  });

  it("asks for the address once for each request, and dials that one (DNS rebinding)", async () => {
    const { port, asked } = await serve((_request, response) => response.end("ok"));
    let lookups = 0;
    const resolve: Resolve = (_hostname, _options, callback) => {
      lookups += 1;
      callback(null, [{ address: lookups === 1 ? "127.0.0.1" : "169.254.169.254", family: 4 }]);
    };
    assert.equal(await fetchText(`http://rebinding.example:${port}/`, 5_000, { ...LOOPBACK, resolve }), "ok");
    assert.deepEqual([lookups, asked.length], [1, 1]);
  });

  it("looks at the address anew after a redirect to the same name", async () => {
    const { port, asked } = await serve((_request, response) => response.writeHead(302, { location: "/again" }).end());
    const options: FetchOptions = { ...LOOPBACK, resolve: resolving("127.0.0.1", "169.254.169.254") };
    await assert.rejects(fetchText(`http://rebinding.example:${port}/`, 5_000, options), refusedCode);
    assert.equal(asked.length, 1);
  });

  for (const location of ["http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "https://10.0.0.1/", "//192.168.0.1/"]) {
    it(`does not follow a redirect to \`${location}\``, async () => {
      const { url } = await serve((_request, response) => response.writeHead(307, { location }).end());
      await assert.rejects(fetchText(url, 5_000, LOOPBACK), refusedCode);
    });
  }

  for (const location of ["file:///etc/passwd", "ftp://127.0.0.1/", "http://user:word@127.0.0.1/"]) {
    it(`does not follow a redirect to \`${location}\``, async () => {
      const { url } = await serve((_request, response) => response.writeHead(302, { location }).end());
      await assert.rejects(fetchText(url, 5_000, LOOPBACK), { code: "invalid-argument" });
    });
  }

  it("follows three redirects and no fourth", async () => {
    const { url } = await serve((request, response) => {
      const left = Number(request.url?.slice(1));
      if (left === 0) response.end("there");
      else response.writeHead(302, { location: `/${left - 1}` }).end();
    });
    assert.equal(await fetchText(`${url}/3`, 5_000, LOOPBACK), "there");
    await assert.rejects(fetchText(`${url}/4`, 5_000, LOOPBACK), /more than 3 redirects/);
  });

  it("stops at a mebibyte, however the body comes", async () => {
    const { url } = await serve((_request, response) => {
      const more = () => {
        while (response.write(Buffer.alloc(65_536)));
      };
      response.on("drain", more);
      more();
    });
    await assert.rejects(fetchText(url, 10_000, LOOPBACK), { code: "resource-exhausted" });
  });

  it("gives up after its time, also on a body that trickles", async () => {
    const { url } = await serve((_request, response) => response.write("x"));
    await assert.rejects(fetchText(url, 200, LOOPBACK), { code: "deadline-exceeded" });
  });

  it("takes no answer but 200", async () => {
    const { url } = await serve((_request, response) => response.writeHead(204).end());
    await assert.rejects(fetchText(url, 5_000, LOOPBACK), /status 204/);
  });

  it("says that nobody listens", async () => {
    await assert.rejects(fetchText("http://127.0.0.1:1/", 5_000, LOOPBACK), { code: "unavailable" });
  });
});

describe("downloading keys", () => {
  const key = new SigningKey("k");
  const set = JSON.stringify({ keys: [key.jwk()] });
  const uri = (url: string) => ({ kind: "uri", url, timeoutMs: 5_000 }) as const;
  const discovery = (url: string) => ({ kind: "discovery", url, timeoutMs: 5_000 }) as const;

  it("takes a set with a usable key", async () => {
    const { url } = await serve((_request, response) => response.end(set));
    assert.deepEqual((await downloadJwks(uri(url), LOOPBACK)).keys, key.publicKeys());
  });

  for (const body of ["<html>", '{"keys": []}', JSON.stringify({ keys: [key.jwk({}, true)] })]) {
    it(`refuses ${body.slice(0, 16)}, which has none, without quoting it`, async () => {
      const { url } = await serve((_request, response) => response.end(body));
      await assert.rejects(
        downloadJwks(uri(url), LOOPBACK),
        (error: Error) => /key/i.test(error.message) && !error.message.includes("html"),
      );
    });
  }

  /** An issuer whose discovery document says this. */
  async function issuer(document: (url: string) => unknown) {
    const place = { url: "" };
    const { url, asked } = await serve((request, response) =>
      response.end(request.url === "/keys" ? set : JSON.stringify(document(place.url))),
    );
    place.url = url;
    return { url, asked };
  }

  it("finds them by discovery", async () => {
    const { url, asked } = await issuer((own) => ({ issuer: own, jwks_uri: `${own}/keys` }));
    assert.deepEqual((await downloadJwks(discovery(`${url}/`), LOOPBACK)).keys, key.publicKeys());
    assert.match(asked.join(" "), /\/\.well-known\/openid-configuration .*\/keys$/);
  });

  it("does not take another issuer's discovery document", async () => {
    const { url } = await issuer((own) => ({ issuer: "https://other.example", jwks_uri: `${own}/keys` }));
    await assert.rejects(downloadJwks(discovery(url), LOOPBACK), /another issuer's/);
  });

  it("does not go where discovery leads, if that is nobody's business", async () => {
    const { url } = await issuer((own) => ({ issuer: own, jwks_uri: "http://169.254.169.254/latest" }));
    await assert.rejects(downloadJwks(discovery(url), LOOPBACK), refusedCode);
  });

  it("says what a discovery document lacks", async () => {
    const { url } = await issuer((own) => ({ issuer: own }));
    await assert.rejects(downloadJwks(discovery(url), LOOPBACK), /no `jwks_uri`/);
  });
});
