import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { serviceEnvironment } from "./service-environment.ts";

describe("service variables", () => {
  it("have Kubernetes' names, also for names with dashes and dots", () => {
    const services = [{ service: "photo-backend.v2", host: "127.0.0.1", port: 17081, portName: "http-web" }];
    assert.deepEqual(serviceEnvironment(services), {
      PHOTO_BACKEND_V2_SERVICE_HOST: "127.0.0.1",
      PHOTO_BACKEND_V2_SERVICE_PORT: "17081",
      PHOTO_BACKEND_V2_SERVICE_PORT_HTTP_WEB: "17081",
    });
  });

  it("name a service's first port alone, and each of its named ports", () => {
    const services = [
      { service: "db", host: "127.0.0.1", port: 1, portName: "tcp" },
      { service: "db", host: "127.0.0.1", port: 2, portName: "admin" },
      { service: "db", host: "127.0.0.1", port: 3 },
    ];
    assert.deepEqual(serviceEnvironment(services), {
      DB_SERVICE_HOST: "127.0.0.1",
      DB_SERVICE_PORT: "1",
      DB_SERVICE_PORT_TCP: "1",
      DB_SERVICE_PORT_ADMIN: "2",
    });
  });

  it("never mix two services of one name from two places", () => {
    const services = [
      { service: "db", host: "127.0.0.1", port: 1 },
      { service: "db", host: "127.0.0.2", port: 2, portName: "admin" },
    ];
    assert.deepEqual(serviceEnvironment(services), { DB_SERVICE_HOST: "127.0.0.1", DB_SERVICE_PORT: "1" });
  });
});
