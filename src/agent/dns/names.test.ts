import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { type Answer, type DecodedPacket, decode, encode, type RecordType, streamEncode } from "dns-packet";
import { type FakeDnsServer, startFakeDns } from "../../../test/fakes/dns-server.ts";
import { ManualClock } from "../../../test/fakes/manual-clock.ts";
import { until } from "../../../test/fakes/processes.ts";
import { silentLogger } from "../../core/logger.ts";
import { systemTimers } from "../timers.ts";
import { startDnsServer } from "./dns-server.ts";
import { NameTable } from "./name-table.ts";
import { Resolver, type ResolverOptions } from "./names.ts";

const NAMES = new Map([["cart.shop.svc.cluster.local", ["10.96.0.1"]]]);
const TABLE = NameTable.of({ version: "1", whole: true, domain: "cluster.local", closed: true, names: NAMES, removed: [] }, undefined);

const SHORT = Buffer.from([7]);

const lie = (name: string): Answer => ({ type: "A", name, ttl: 300, data: "203.0.113.66" });

function asking(name: string, type: RecordType = "A"): Buffer {
  return encode({ type: "query", id: 77, flags: 0x0100, questions: [{ type, name, class: "IN" }] });
}

type Reply = Parameters<typeof startFakeDns>[2];

/** A server somewhere, which gives these answers. */
async function server(t: TestContext, reply: Reply = ({ name }) => [{ answers: [lie(name)] }]): Promise<FakeDnsServer> {
  const started = await startFakeDns("127.0.0.1", 0, reply);
  t.after(() => started.close());
  return started;
}

function resolverOf(t: TestContext, servers: readonly { readonly port: number }[], more: Partial<ResolverOptions> = {}): Resolver {
  const resolver = new Resolver({
    namespace: "shop",
    table: () => TABLE,
    resolver: () => ({ servers: servers.map(({ port }) => ({ address: "127.0.0.1", port })), search: [] }),
    timers: systemTimers,
    logger: silentLogger,
    ...more,
  });
  t.after(() => resolver.close());
  return resolver;
}

async function ask(resolver: Resolver, bytes: Buffer, transport: "udp" | "tcp" = "udp"): Promise<DecodedPacket> {
  return decode((await resolver.answer(bytes, transport)) ?? Buffer.alloc(0));
}

/** The code of an answer, then its addresses. */
function told({ rcode, answers = [] }: DecodedPacket & { readonly rcode?: string }): string {
  return [rcode, ...answers.map((each) => (each.type === "A" ? each.data : each.type))].join(" ");
}

describe("a question", () => {
  it("of the mesh's names is answered from its table, and of no others", async (t) => {
    const liar = await server(t);
    const resolver = resolverOf(t, [liar]);
    for (const transport of ["udp", "tcp"] as const) {
      assert.equal(told(await ask(resolver, asking("cart"), transport)), "NOERROR 10.96.0.1");
      assert.equal(told(await ask(resolver, asking("cart.shop", "AAAA"), transport)), "NOERROR");
      assert.equal(told(await ask(resolver, asking("missing.shop.svc.cluster.local"), transport)), "NXDOMAIN");
      assert.equal(told(await ask(resolver, asking("www.example.com"), transport)), "NOERROR 203.0.113.66");
    }
    assert.deepEqual(liar.asked, [
      { name: "www.example.com", type: "A", transport: "udp" },
      { name: "www.example.com", type: "A", transport: "tcp" },
    ]);
  });

  it("of any name fails while there is no table: nobody knows yet which names are the mesh's", async (t) => {
    const liar = await server(t);
    let table: NameTable | undefined;
    const resolver = resolverOf(t, [liar], { table: () => table });
    for (const name of ["cart.shop", "www.example.com"]) assert.equal(told(await ask(resolver, asking(name))), "SERVFAIL");
    assert.deepEqual(liar.asked, []);
    table = TABLE;
    assert.equal(told(await ask(resolver, asking("www.example.com"))), "NOERROR 203.0.113.66");
  });

  it("keeps its id, and what else the answer says", async (t) => {
    const own = await server(t, ({ name }) => [{ answers: [lie(name)], flags: 0x0200 }]);
    const { id, flag_tc } = await ask(resolverOf(t, [own]), asking("www.example.com"));
    assert.deepEqual([id, flag_tc], [77, true]);
  });

  it("is asked with another id and from another port each time", async (t) => {
    const seen: string[] = [];
    const socket = createSocket("udp4");
    socket.on("message", (bytes, { port }) => {
      seen.push(`${bytes.readUInt16BE(0)} ${port}`);
      socket.send(encode({ ...decode(bytes), type: "response" }), port, "127.0.0.1");
    });
    socket.bind(0, "127.0.0.1");
    await once(socket, "listening");
    t.after(() => socket.close());
    const resolver = resolverOf(t, [{ port: socket.address().port }]);
    for (let count = 0; count < 20; count++) await ask(resolver, asking("www.example.com"));
    const [ids, ports] = [0, 1].map((part) => new Set(seen.map((each) => each.split(" ")[part])).size);
    assert.ok((ids ?? 0) > 15 && (ports ?? 0) > 10, `${ids} ids, ${ports} ports`);
  });
});

describe("answers that nobody asked for", () => {
  it("are passed over: another id, another name, another type", async (t) => {
    const evil = (name: string): Answer => ({ type: "A", name, ttl: 300, data: "198.51.100.1" });
    const spoofing = await server(t, ({ name }) => [
      { id: 0, answers: [evil(name)] },
      { questions: [{ type: "A", name: "cart.shop", class: "IN" }], answers: [evil("cart.shop")] },
      { questions: [{ type: "TXT", name, class: "IN" }], answers: [evil(name)] },
      { answers: [lie(name)] },
    ]);
    assert.equal(told(await ask(resolverOf(t, [spoofing]), asking("www.example.com"))), "NOERROR 203.0.113.66");
  });

  it("from another address are passed over", async (t) => {
    const [other, real] = [createSocket("udp4"), createSocket("udp4")];
    for (const socket of [other, real]) {
      socket.bind(0, "127.0.0.1");
      await once(socket, "listening");
      t.after(() => socket.close());
    }
    real.on("message", (bytes, { port }) => {
      const packet = { ...decode(bytes), type: "response" } as const;
      other.send(encode({ ...packet, answers: [{ ...lie("www.example.com"), data: "198.51.100.1" } as Answer] }), port, "127.0.0.1", () =>
        real.send(encode({ ...packet, answers: [lie("www.example.com")] }), port, "127.0.0.1"),
      );
    });
    const resolver = resolverOf(t, [{ port: real.address().port }]);
    assert.equal(told(await ask(resolver, asking("www.example.com"))), "NOERROR 203.0.113.66");
  });

  it("end the attempt where there are many: somebody guesses", async (t) => {
    const guessing = await server(t, ({ name }) => Array.from({ length: 20 }, () => ({ id: 0, answers: [lie(name)] })));
    assert.equal(told(await ask(resolverOf(t, [guessing], { attemptMs: 60_000 }), asking("www.example.com"))), "SERVFAIL");
    assert.equal(guessing.asked.length, 3);
  });
});

describe("a server that does not answer", () => {
  it("gives way to the next, by UDP and by TCP", async (t) => {
    const silent = createSocket("udp4");
    silent.bind(0, "127.0.0.1");
    await once(silent, "listening");
    t.after(() => silent.close());
    const { port } = silent.address();
    const deaf = createServer(() => undefined).listen(port, "127.0.0.1");
    await once(deaf, "listening");
    t.after(() => deaf.close());
    const good = await server(t);
    const clock = new ManualClock(0);
    const resolver = resolverOf(t, [{ port }, good], { timers: clock });
    for (const transport of ["udp", "tcp"] as const) {
      const answer = ask(resolver, asking("www.example.com"), transport);
      await clock.advance(1_500);
      assert.equal(told(await answer), "NOERROR 203.0.113.66");
    }
  });

  it("is given up after three attempts", async (t) => {
    const silent = await server(t, () => []);
    const clock = new ManualClock(0);
    const answer = ask(resolverOf(t, [silent], { timers: clock }), asking("www.example.com"));
    for (let attempt = 1; attempt <= 3; attempt++) {
      await until("it is asked", () => silent.asked.length === attempt);
      await clock.advance(1_500);
    }
    assert.equal(told(await answer), "SERVFAIL");
  });

  it("or refuses gives way too, and where all refuse, that is the answer", async (t) => {
    const refusing = await server(t, () => [{ flags: 5 }]);
    const closed = { port: 9 };
    const good = await server(t);
    assert.equal(told(await ask(resolverOf(t, [refusing, closed, good]), asking("www.example.com"))), "NOERROR 203.0.113.66");
    assert.equal(told(await ask(resolverOf(t, [refusing, closed]), asking("www.example.com"))), "REFUSED");
    assert.equal(told(await ask(resolverOf(t, [closed]), asking("www.example.com"), "tcp")), "SERVFAIL");
    assert.equal(told(await ask(resolverOf(t, []), asking("www.example.com"))), "SERVFAIL");
  });

  it("keeps no more than 512 questions waiting", async (t) => {
    const silent = await server(t, () => []);
    const clock = new ManualClock(0);
    const resolver = resolverOf(t, [silent], { timers: clock });
    const waiting = Array.from({ length: 512 }, () => ask(resolver, asking("www.example.com")));
    assert.equal(told(await ask(resolver, asking("www.example.com"))), "SERVFAIL");
    assert.equal(told(await ask(resolver, asking("cart"))), "NOERROR 10.96.0.1");
    resolver.close();
    for (const answer of await Promise.all(waiting)) assert.equal(told(answer), "SERVFAIL");
  });
});

describe("the place where questions come in", () => {
  const serve = async (t: TestContext) => {
    const listener = await startDnsServer({ port: 0, answer: (bytes, transport) => resolverOf(t, []).answer(bytes, transport) });
    t.after(() => listener.close());
    return listener;
  };

  it("is loopback alone, for UDP and TCP of both families", async (t) => {
    const { port } = await serve(t);
    for (const [family, host] of [
      ["udp4", "127.0.0.1"],
      ["udp6", "::1"],
    ] as const) {
      const socket = createSocket(family);
      socket.send(asking("cart"), port, host);
      const [bytes] = (await once(socket, "message")) as [Buffer];
      socket.close();
      assert.equal(told(decode(bytes)), "NOERROR 10.96.0.1");
    }
    // Any other address of the machine, were it bound to all.
    const elsewhere = connect({ host: "127.0.0.2", port });
    const [error] = (await once(elsewhere, "error")) as [NodeJS.ErrnoException];
    assert.equal(error.code, "ECONNREFUSED");
    await assert.rejects(startDnsServer({ port, answer: async () => undefined }), /cannot listen for questions of DNS/);
  });

  it("takes several questions over one connection, in whatever pieces they come", async (t) => {
    const { port } = await serve(t);
    const socket = connect({ host: "127.0.0.1", port });
    const all = Buffer.concat(["cart", "missing.svc", "cart.shop"].map((name) => streamEncode({ ...decode(asking(name)), type: "query" })));
    for (const at of [0, 1, 5, 40, 60]) socket.write(all.subarray(at, { 0: 1, 1: 5, 5: 40, 40: 60 }[at] ?? all.length));
    socket.end();
    const received: Buffer[] = [];
    for await (const bytes of socket) received.push(bytes as Buffer);
    let rest = Buffer.concat(received);
    const answers: string[] = [];
    for (; rest.length > 2; rest = rest.subarray(2 + rest.readUInt16BE(0)))
      answers.push(told(decode(rest.subarray(2, 2 + rest.readUInt16BE(0)))));
    assert.deepEqual(answers, ["NOERROR 10.96.0.1", "NXDOMAIN", "NOERROR 10.96.0.1"]);
  });

  it("answers nobody who does not read the answers", async (t) => {
    let answered = 0;
    const answer = async (bytes: Buffer): Promise<Buffer> => {
      answered += 1;
      return bytes.equals(SHORT) ? bytes : Buffer.alloc(60_000);
    };
    const { port, close } = await startDnsServer({ port: 0, answer });
    t.after(close);
    const idle = connect({ host: "127.0.0.1", port });
    t.after(() => idle.destroy());
    const questions = Buffer.from([0, 4, 1, 2, 3, 4]);
    await new Promise((resolve) => idle.write(Buffer.concat(Array.from({ length: 2_000 }, () => questions)), resolve));
    const reader = connect({ host: "127.0.0.1", port });
    t.after(() => reader.destroy());
    for (let count = 0; count < 20; count += 1) {
      reader.write(Buffer.concat([Buffer.from([0, SHORT.length]), SHORT]));
      await once(reader, "data");
    }
    assert.ok(answered > 20 && answered < 1_000, String(answered));
  });

  it("closes a connection that brings no question", async (t) => {
    const { port } = await serve(t);
    for (const bytes of [Buffer.from([0xff, 0xff, 0]), Buffer.from([0, 3, 1, 2, 3])]) {
      const socket = connect({ host: "127.0.0.1", port });
      socket.write(bytes);
      socket.resume();
      await once(socket, "close");
    }
  });
});
