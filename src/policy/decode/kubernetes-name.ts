/** The names that Kubernetes allows. */
import { matching } from "./refine.ts";

const LABEL = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/;
const PORT_NAME = /^[a-z0-9]+(?:-[a-z0-9]+)*$/;

/** RFC 1123 label: namespaces, services, port names of a Sidecar. */
export function isDnsLabel(name: string): boolean {
  return name.length <= 63 && LABEL.test(name);
}

/** RFC 1123 subdomain: every other name. */
export function isDnsSubdomain(name: string): boolean {
  return name.length <= 253 && name.split(".").every(isDnsLabel);
}

/** IANA service name (RFC 6335 §5.1): the name of a workload's port. */
function isPortName(name: string): boolean {
  return name.length <= 15 && PORT_NAME.test(name) && /[a-z]/.test(name);
}

export const dnsLabel = matching(
  isDnsLabel,
  "a Kubernetes name",
  "use at most 63 lower-case letters, digits and dashes, with a letter or digit at both ends",
);

export const dnsSubdomain = matching(
  isDnsSubdomain,
  "a Kubernetes name",
  "use at most 253 lower-case letters, digits, dashes and dots, with a letter or digit at both ends of each part",
);

export const portName = matching(
  isPortName,
  "a port name",
  "use at most 15 lower-case letters, digits and single dashes, with at least one letter",
);
