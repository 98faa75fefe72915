/** JSON of Kubernetes' objects, of which only little is looked at: all else stays as it is. */

export type Plain = Readonly<Record<string, unknown>>;

export function isPlain(value: unknown): value is Plain {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function childOf(record: unknown, key: string): unknown {
  return isPlain(record) ? record[key] : undefined;
}

export function plainOf(record: unknown, key: string): Plain {
  const value = childOf(record, key);
  return isPlain(value) ? value : {};
}

export function listOf(record: unknown, key: string): readonly unknown[] {
  const value = childOf(record, key);
  return Array.isArray(value) ? value : [];
}

export function textOf(record: unknown, key: string): string {
  const value = childOf(record, key);
  return typeof value === "string" ? value : "";
}
