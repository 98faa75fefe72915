/** Asks step-ca: `POST /1.0/sign` with a one-time token of a JWK provisioner. */
import { createPrivateKey, createPublicKey, type KeyObject, randomUUID } from "node:crypto";
import { Agent, request as httpsRequest } from "node:https";
import { calculateJwkThumbprint, type JWK, SignJWT } from "jose";
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import { readSecret } from "../plugged-files.ts";
import type { StepUpstreamConfig, Upstream, UpstreamRequest } from "./model.ts";

const MAX_ANSWER_BYTES = 256 * 1024;
const TOKEN_SECONDS = 120;
const MAX_MESSAGE = 300;

interface ProvisionerKey {
  readonly key: KeyObject;
  readonly algorithm: "ES256" | "ES384" | "RS256";
  readonly id: string;
}

/** Nothing of the text gets into a message. */
function parseKey(text: string, where: string): { readonly key: KeyObject; readonly id: string | undefined } {
  try {
    if (!text.trimStart().startsWith("{")) return { key: createPrivateKey(text), id: undefined };
    const jwk = JSON.parse(text) as JWK;
    return { key: createPrivateKey({ key: jwk as Record<string, string>, format: "jwk" }), id: jwk.kid };
  } catch {
    throw new AppError("invalid-configuration", "the provisioner's key cannot be read", {
      where,
      help: "put the decrypted private key there, as JWK or PEM: step crypto jwe decrypt",
    });
  }
}

function algorithmOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject, where: string): ProvisionerKey["algorithm"] {
  if (asymmetricKeyType === "rsa") return "RS256";
  if (asymmetricKeyDetails?.namedCurve === "prime256v1") return "ES256";
  if (asymmetricKeyDetails?.namedCurve === "secp384r1") return "ES384";
  throw new AppError("invalid-configuration", "the provisioner's key is neither P-256, P-384 nor RSA", { where });
}

async function openKey(path: string): Promise<ProvisionerKey> {
  const { key, id } = parseKey(readSecret(path), path);
  // RFC 7638, which is how step-ca names keys.
  const thumbprint = await calculateJwkThumbprint(createPublicKey(key).export({ format: "jwk" }) as JWK);
  return { key, algorithm: algorithmOf(key, path), id: id ?? thumbprint };
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** The certificates of an answer: the leaf and those above it. */
function chainOf(body: string): readonly string[] {
  try {
    const { certChain, crt, ca } = JSON.parse(body) as { certChain?: unknown; crt?: unknown; ca?: unknown };
    const chain: readonly unknown[] = Array.isArray(certChain) ? certChain : [crt, ca];
    if (chain.every((each) => typeof each === "string")) return chain;
  } catch {
    // Told below.
  }
  throw new AppError("internal", "the other CA's answer is no chain of certificates");
}

function messageOf(body: string): string {
  try {
    const { message } = JSON.parse(body) as { message?: unknown };
    if (typeof message === "string") return message.slice(0, MAX_MESSAGE);
  } catch {
    // No JSON.
  }
  return "no reason given";
}

export class StepUpstream implements Upstream {
  readonly name: string;
  readonly #config: StepUpstreamConfig;
  readonly #roots: () => string;
  readonly #clock: Clock;
  #agent: { readonly agent: Agent; readonly roots: string } | undefined;

  constructor(config: StepUpstreamConfig, roots: () => string, clock: Clock) {
    this.#config = config;
    this.#roots = roots;
    this.#clock = clock;
    this.name = `step-ca at ${config.url}`;
  }

  async request({ csr, uri, ttlSeconds }: UpstreamRequest, signal: AbortSignal): Promise<readonly string[]> {
    const ott = await this.#token(uri);
    const { status, body } = await this.#post("/1.0/sign", JSON.stringify({ csr, ott, notAfter: `${ttlSeconds}s` }), signal);
    if (status === 201 || status === 200) return chainOf(body);
    if (status >= 500 || status === 429) throw new AppError("unavailable", `it answered ${status}: ${messageOf(body)}`);
    throw new AppError("permission-denied", `it refused (${status}): ${messageOf(body)}`);
  }

  close(): void {
    this.#agent?.agent.destroy();
  }

  /** Good once, for this one name (step-ca's JWK provisioner). */
  async #token(uri: string): Promise<string> {
    const { url, provisioner, keyFile } = this.#config;
    const { key, algorithm, id } = await openKey(keyFile);
    const now = Math.floor(this.#clock.now() / 1000);
    return new SignJWT({ sans: [uri], jti: randomUUID() })
      .setProtectedHeader({ alg: algorithm, kid: id, typ: "JWT" })
      .setIssuer(provisioner)
      .setSubject(uri)
      .setAudience(`${url}/1.0/sign`)
      .setIssuedAt(now)
      .setNotBefore(now)
      .setExpirationTime(now + TOKEN_SECONDS)
      .sign(key);
  }

  #connections(): Agent {
    const roots = this.#roots();
    if (this.#agent?.roots === roots) return this.#agent.agent;
    this.#agent?.agent.destroy();
    const agent = new Agent({ keepAlive: true, ca: roots, maxSockets: 16, minVersion: "TLSv1.2" });
    this.#agent = { agent, roots };
    return agent;
  }

  #post(path: string, body: string, signal: AbortSignal): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const unavailable = (cause: Error): void => reject(new AppError("unavailable", `it cannot be asked: ${cause.message}`, { cause }));
      const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
      const sent = httpsRequest(
        new URL(path, this.#config.url),
        { method: "POST", agent: this.#connections(), headers, signal },
        (response) => {
          let answer = "";
          response.setEncoding("utf8").on("error", unavailable);
          response.on("data", (part: string) => {
            answer += part;
            if (answer.length > MAX_ANSWER_BYTES) response.destroy(new Error("its answer is too long"));
          });
          response.on("end", () => resolve({ status: response.statusCode ?? 0, body: answer }));
        },
      );
      sent.on("error", unavailable);
      sent.end(body);
    });
  }
}
