/** The endpoints of a service in the order in which to try them. */
import type { ServiceEndpoint } from "../compile/workload-policy.ts";

/** Round robin; an endpoint that could not be connected to comes last for a while, and is tried when nothing else is left. */
export class Balancer {
  readonly #endpoints: readonly ServiceEndpoint[];
  readonly #ejectionMs: number;
  readonly #ejectedUntil = new Map<ServiceEndpoint, number>();
  #next = 0;

  constructor(endpoints: readonly ServiceEndpoint[], ejectionMs: number) {
    this.#endpoints = endpoints;
    this.#ejectionMs = ejectionMs;
  }

  /** Every endpoint once. */
  candidates(): readonly ServiceEndpoint[] {
    if (this.#endpoints.length < 2) return this.#endpoints;
    const start = this.#next++ % this.#endpoints.length;
    const turned = [...this.#endpoints.slice(start), ...this.#endpoints.slice(0, start)];
    if (this.#ejectedUntil.size === 0) return turned;
    const now = performance.now();
    const ejected = (endpoint: ServiceEndpoint) => (this.#ejectedUntil.get(endpoint) ?? 0) > now;
    return [...turned.filter((endpoint) => !ejected(endpoint)), ...turned.filter(ejected)];
  }

  failed(endpoint: ServiceEndpoint): void {
    this.#ejectedUntil.set(endpoint, performance.now() + this.#ejectionMs);
  }

  succeeded(endpoint: ServiceEndpoint): void {
    this.#ejectedUntil.delete(endpoint);
  }
}
