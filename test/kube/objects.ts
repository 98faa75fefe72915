/** YAML that tests of clusters begin with. */

/** A namespace, and service accounts of it, each a document. */
export function namespaceWith(namespace: string, accounts: readonly string[] = []): string {
  const account = (name: string) => `---\napiVersion: v1\nkind: ServiceAccount\nmetadata: { name: ${name}, namespace: ${namespace} }\n`;
  return `---\napiVersion: v1\nkind: Namespace\nmetadata: { name: ${namespace} }\n${accounts.map(account).join("")}`;
}
