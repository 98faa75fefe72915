// A client of the datastore: one connection, opened when it is needed and again after it was lost.
import { connect } from "node:net";
import { encodeCommand, RespReader, Status } from "./resp.mjs";

const TIMEOUT = 5000;

/** One connection: commands go out at once, replies come in order. */
class Connection {
  /** @type {{ resolve: (value: unknown) => void, reject: (error: Error) => void }[]} */
  #waiting = [];
  #reader = new RespReader();
  #onEnd;
  open = true;
  /** Replies so far: 0 until the other end has shown itself. */
  replies = 0;

  /**
   * @param {{ host: string, port: number }} target
   * @param {() => void} onEnd called before those who wait are told
   */
  constructor(target, onEnd) {
    this.#onEnd = onEnd;
    this.socket = connect({ ...target, noDelay: true });
    this.socket.setTimeout(TIMEOUT, () => {
      if (this.#waiting.length > 0) this.end(new Error("timed out"));
    });
    this.socket.on("error", (error) => this.end(error));
    this.socket.on("close", () => this.end(new Error("the connection was closed")));
    this.socket.on("data", (chunk) => this.#receive(chunk));
  }

  /** @param {readonly string[]} args */
  send(args) {
    if (!this.open) return Promise.reject(new Error("the connection was closed"));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.socket.write(encodeCommand(args));
    });
  }

  /** @param {Buffer} chunk */
  #receive(chunk) {
    try {
      for (const value of this.#reader.push(chunk)) {
        this.replies++;
        const waiting = this.#waiting.shift();
        if (value instanceof Error) waiting?.reject(value);
        else waiting?.resolve(value instanceof Status ? value.text : value);
      }
    } catch (error) {
      this.end(error);
    }
  }

  /** @param {Error} error */
  end(error) {
    if (!this.open) return;
    this.open = false;
    this.#onEnd();
    this.socket.destroy();
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}

export class DatastoreClient {
  #target;
  #prepare;
  /** @type {Promise<Connection> | undefined} */
  #connection;

  /**
   * @param {{ host: string, port: number, prepare: (command: (...args: string[]) => Promise<unknown>) => Promise<void> }} options
   *   `prepare` is the first to speak on each new connection
   */
  constructor({ host, port, prepare }) {
    this.#target = { host, port };
    this.#prepare = prepare;
  }

  /**
   * Sends a command. A connection that was lost while idle is noticed only now: what changes nothing is sent once more.
   * @param {string[]} args
   * @returns {Promise<any>}
   */
  async command(...args) {
    const used = await this.#open();
    const before = used.replies;
    try {
      return await used.send(args);
    } catch (error) {
      if (used.open || used.replies > before || args[0] === "DEL") throw error;
      return (await this.#open()).send(args);
    }
  }

  close() {
    this.#connection?.then(({ socket }) => socket.destroy()).catch(() => undefined);
  }

  /** The connection of the moment, or a new one. */
  #open() {
    this.#connection ??= this.#connect();
    return this.#connection;
  }

  async #connect() {
    const connection = new Connection(this.#target, () => {
      this.#connection = undefined;
    });
    try {
      await this.#prepare((...args) => connection.send(args));
      return connection;
    } catch (error) {
      connection.end(error);
      throw error;
    }
  }
}
