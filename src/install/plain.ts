/** What an API server sent, read with care: what is not of the shape that it should be is taken for nothing. */
import { isObject, type JsonObject } from "./template.ts";

export function plain(value: unknown): JsonObject {
  return isObject(value) ? value : {};
}

export function list(value: unknown): readonly JsonObject[] {
  return Array.isArray(value) ? value.map(plain) : [];
}

export function count(value: unknown): number {
  return typeof value === "number" ? value : 0;
}

export function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
