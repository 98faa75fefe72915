/** An application with an embedded proxy in front of it, new for each test of a file. */
import { afterEach, beforeEach } from "node:test";
import type { InboundListener, WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import type { Limits } from "../../src/proxy/limits.ts";
import { type Application, startApplication } from "./http-application.ts";
import { call, peerAgent } from "./http-clients.ts";
import { FRONTEND, fromPrincipal, inboundListener, layers, makeProxy, type ProxyUnderTest, rule, workloadPolicy } from "./proxy-setup.ts";

const ONLY_FRONTEND = layers({ allow: [rule("frontend", fromPrincipal(FRONTEND))] });

export class InboundScene {
  #application: Application | undefined;
  #setup: ProxyUnderTest | undefined;

  /** Of one file: begins with each of its tests and ends with it. */
  constructor(limits: Partial<Limits> = {}) {
    beforeEach(async () => {
      this.#application = await startApplication();
      this.#setup = makeProxy({ limits });
    });
    afterEach(async () => {
      await this.#setup?.proxy.close(0);
      await this.#application?.close();
    });
  }

  get application(): Application {
    if (this.#application === undefined) throw new Error("no test runs");
    return this.#application;
  }

  get setup(): ProxyUnderTest {
    if (this.#setup === undefined) throw new Error("no test runs");
    return this.#setup;
  }

  /** Puts a policy with one listener in force: the frontend alone may come, unless it is said otherwise. */
  readonly apply = (listener: Partial<InboundListener> = {}, policy: Partial<WorkloadPolicy> = { http: ONLY_FRONTEND }): Promise<void> =>
    this.setup.proxy.apply(workloadPolicy({ inbound: [inboundListener(this.application.port, listener)], ...policy }));

  readonly agentOf = (identity: string, maxSockets?: number) => peerAgent(this.setup.material(identity), maxSockets);

  /** A call by the frontend. */
  readonly frontend = (path = "/", options = {}) => call({ port: this.setup.port(), agent: this.agentOf(FRONTEND), path, ...options });
}
