/** Unquoted values that mean one thing in YAML 1.2 and another in the YAML 1.1 that Kubernetes reads. */

const BOOLEAN_OF_1_1 = /^(?:y|Y|yes|Yes|YES|n|N|no|No|NO|on|On|ON|off|Off|OFF)$/;
const LEADING_ZERO = /^[-+]?0[0-9_]+$/;
const BINARY = /^[-+]?0b[01_]+$/;
const UNDERSCORES = /^[-+]?[0-9][0-9_]*_[0-9_]*$/;

/** How Kubernetes reads the value, in words, if that is not how YAML 1.2 does; otherwise undefined. */
export function readingOfYaml11(source: string): string | undefined {
  if (BOOLEAN_OF_1_1.test(source)) return "true or false";
  if (LEADING_ZERO.test(source)) return "an octal number";
  if (BINARY.test(source) || UNDERSCORES.test(source)) return "a number";
  return undefined;
}
