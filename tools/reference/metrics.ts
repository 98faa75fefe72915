/** `docs/reference/metrics.md`: what Prometheus reads. */
import { EVENTS } from "../../src/server/metrics/metrics.ts";
import { READINGS } from "../../src/server/metrics/readings.ts";
import { codes, table } from "./markdown.ts";

export function metricsPage(): string {
  const events = Object.values(EVENTS).map(({ name, help, labelNames }) => [
    `\`${name}\``,
    name.endsWith("_seconds") ? "histogram" : "counter",
    codes(labelNames),
    help,
  ]);
  const readings = READINGS.map(({ name, kind, labels, help }) => [`\`${name}\``, kind, codes(labels), help]);
  return `# Metrics

What \`garrison serve --metrics-listen\` tells Prometheus ([how to use it](../tasks/metrics.md)). Each replica tells of itself. Each label is one of a few words; none names a workload, an identity or a policy.

${table(["metric", "type", "labels", "is"], [...events, ...readings])}
`;
}
