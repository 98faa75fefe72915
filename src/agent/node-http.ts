/**
 * `node:http` for a process that has to stay small: an `import` of it reads all that it exports, and what it exports
 * of WebSocket loads a second HTTP client of 5 MiB.
 */
export const { createServer, request } = process.getBuiltinModule("node:http");

/** The same over TLS. */
export const { request: requestTls } = process.getBuiltinModule("node:https");
