/** Questions that are none of the mesh's, asked of the machine's own servers. What is not the answer to just the question, from just the server, is no answer. */
import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { connect, isIPv6 } from "node:net";
import { AppError } from "../../core/error.ts";
import type { Timers } from "../timers.ts";
import { isAnswerTo, type Query, RCODE, rcodeOf, withId } from "./messages.ts";
import type { DnsServer } from "./resolv-conf.ts";

export interface UpstreamOptions {
  /** As of now, in the order in which they are asked. */
  readonly servers: () => readonly DnsServer[];
  readonly timers: Timers;
  /** For one server to answer one attempt. */
  readonly attemptMs?: number;
}

/** Asked at the same time; more are refused at once. */
const MAX_PENDING = 512;
const ATTEMPT_MS = 1_500;
/** The C library gives up after 5 s. */
const MAX_ATTEMPTS = 3;
/** Packets from the server's address that answer something else: somebody guesses. */
const MAX_STRANGE = 8;
const HIGHEST_ID = 65_536;

/** A server that will not or cannot answer: another may. */
const UNHELPFUL: ReadonlySet<number> = new Set([RCODE.serverFailure, RCODE.notImplemented, RCODE.refused]);

/** What an attempt ends in; whoever ends it first has its way. */
interface Attempt {
  readonly id: number;
  readonly request: Buffer;
  readonly done: (answer: Buffer) => void;
  readonly failed: (reason: string) => void;
}

/** A socket of its own, from a port that the kernel picks, connected: the kernel drops what comes from anywhere else. */
function askByUdp(query: Query, server: DnsServer, { id, request, done, failed }: Attempt): () => void {
  const socket = createSocket(isIPv6(server.address.split("%")[0] ?? "") ? "udp6" : "udp4");
  let strange = 0;
  socket.on("error", (error) => failed(error.message));
  socket.on("message", (bytes) => {
    if (isAnswerTo(query, id, bytes)) done(bytes);
    else if (++strange > MAX_STRANGE) failed("too many answers to other questions");
  });
  socket.on("connect", () => socket.send(request));
  socket.connect(server.port, server.address);
  return () => socket.close();
}

function askByTcp(query: Query, server: DnsServer, { id, request, done, failed }: Attempt): () => void {
  const socket = connect({ host: server.address, port: server.port });
  let received = Buffer.alloc(0);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(request.length);
  socket.on("error", (error) => failed(error.message));
  socket.on("close", () => failed("the connection was closed"));
  socket.on("data", (bytes: Buffer) => {
    received = Buffer.concat([received, bytes]);
    const end = received.length < 2 ? Number.POSITIVE_INFINITY : 2 + received.readUInt16BE(0);
    if (received.length < end) return;
    const answer = received.subarray(2, end);
    if (isAnswerTo(query, id, answer)) done(answer);
    else failed("the answer is to another question");
  });
  socket.write(Buffer.concat([length, request]));
  return () => socket.destroy();
}

export class Upstream {
  readonly #options: UpstreamOptions;
  readonly #open = new Set<() => void>();
  #pending = 0;
  #closed = false;

  constructor(options: UpstreamOptions) {
    this.#options = options;
  }

  /** The answer, with the id of the question. Throws `unavailable` where no server gives one in time, `resource-exhausted` where too many are asked. */
  async ask(query: Query, transport: "udp" | "tcp"): Promise<Buffer> {
    if (this.#pending >= MAX_PENDING) throw new AppError("resource-exhausted", `${MAX_PENDING} questions wait for their answers`);
    this.#pending += 1;
    try {
      return withId(await this.#askAll(query, transport), query.bytes.readUInt16BE(0));
    } finally {
      this.#pending -= 1;
    }
  }

  /** What is asked is given up. */
  close(): void {
    this.#closed = true;
    for (const giveUp of [...this.#open]) giveUp();
  }

  async #askAll(query: Query, transport: "udp" | "tcp"): Promise<Buffer> {
    const servers = this.#options.servers();
    let unhelpful: Buffer | undefined;
    let reason = "no DNS server is known";
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const server = servers[attempt % servers.length];
      if (server === undefined || this.#closed) break;
      try {
        const answer = await this.#askOne(query, server, transport);
        if (!UNHELPFUL.has(rcodeOf(answer))) return answer;
        unhelpful = answer;
        if (attempt + 1 >= servers.length) break;
      } catch (thrown) {
        reason = AppError.from(thrown).message;
      }
    }
    if (unhelpful !== undefined) return unhelpful;
    throw new AppError("unavailable", reason);
  }

  #askOne(query: Query, server: DnsServer, transport: "udp" | "tcp"): Promise<Buffer> {
    const { timers, attemptMs = ATTEMPT_MS } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const failed = (reason: string) => reject(new AppError("unavailable", `${server.address}: ${reason}`));
    const id = randomInt(HIGHEST_ID);
    const ask = transport === "udp" ? askByUdp : askByTcp;
    const close = ask(query, server, { id, request: withId(query.bytes, id), done: resolve, failed });
    const cancel = timers.after(attemptMs, () => failed(`no answer within ${attemptMs} ms`));
    const giveUp = () => failed("the agent is stopping");
    this.#open.add(giveUp);
    return promise.finally(() => {
      cancel();
      close();
      this.#open.delete(giveUp);
    });
  }
}
