/** A DNS server that answers as a test tells it to, by UDP and TCP. */
import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { type Answer, AUTHORITATIVE_ANSWER, type DecodedPacket, decode, encode, type RecordType, streamEncode } from "dns-packet";

export interface Asked {
  readonly name: string;
  readonly type: RecordType;
  readonly transport: "udp" | "tcp";
}

/** What an answer is: its packet, bytes as they are, or nothing at all. */
type Reply = {
  readonly answers?: readonly Answer[];
  readonly flags?: number;
  readonly id?: number;
  readonly questions?: DecodedPacket["questions"];
};

export interface FakeDnsServer {
  readonly port: number;
  readonly asked: readonly Asked[];
  close(): void;
}

/** Answers each question with what `reply` makes of it, one after another; nothing for none. */
export async function startFakeDns(host: string, port: number, reply: (asked: Asked) => readonly Reply[]): Promise<FakeDnsServer> {
  const asked: Asked[] = [];
  const packets = (bytes: Buffer, transport: Asked["transport"]): readonly Parameters<typeof encode>[0][] => {
    const query = decode(bytes);
    const question = query.questions?.[0];
    if (question === undefined) return [];
    const one = { name: question.name, type: question.type, transport };
    asked.push(one);
    return reply(one).map(({ answers = [], flags = 0, id, questions }) => ({
      type: "response",
      id: id ?? query.id ?? 0,
      flags: AUTHORITATIVE_ANSWER | flags,
      questions: [...(questions ?? query.questions ?? [])],
      answers: [...answers],
    }));
  };
  const tcp = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (bytes: Buffer) => {
      for (const packet of packets(bytes.subarray(2), "tcp")) socket.write(streamEncode(packet));
    });
  });
  await new Promise<void>((resolve) => tcp.listen(port, host, resolve));
  const address = tcp.address();
  const bound = typeof address === "object" && address !== null ? address.port : port;
  const udp = createSocket(host.includes(":") ? "udp6" : "udp4");
  udp.on("message", (bytes, from) => {
    for (const packet of packets(bytes, "udp")) udp.send(encode(packet), from.port, from.address);
  });
  await new Promise<void>((resolve) => udp.bind(bound, host, resolve));
  const close = (): void => {
    tcp.close();
    udp.close();
  };
  return { port: bound, asked, close };
}
