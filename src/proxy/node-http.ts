/**
 * `node:http` for a process that stands beside every workload: an `import` of it reads all that it exports, and what it
 * exports of WebSocket loads a second HTTP client of some megabytes.
 */
export const { createServer, ServerResponse, STATUS_CODES } = process.getBuiltinModule("node:http");
