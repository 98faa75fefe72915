/** How much one object may hold. Those with a clause are Istio's (VA-6, VA-3); the others only bound the work. */
export const LIMITS = {
  /** Problems told of one object; what comes after is counted as failed all the same. */
  diagnostics: 50,
  /** Characters of a string. */
  text: 2048,
  /** Characters of an annotation: Kubernetes allows 256 KiB. */
  annotation: 262_144,
  labels: 256,
  annotations: 256,
  /** VA-6. */
  rules: 512,
  /** Elements of `from` and of `to` (VA-6), and conditions of `when`. */
  elements: 512,
  /** Values of one field of a rule. */
  values: 16_384,
  /** VA-3. */
  serviceAccounts: 16,
  /** VA-6. */
  targetRefs: 16,
  /** Rules of a RequestAuthentication (VA-5). */
  jwtRules: 4096,
  /** Audiences, places and output headers of one such rule. */
  jwtValues: 256,
  /** VA-5. */
  spaceDelimitedClaims: 64,
  /** Characters of an inline key set. */
  jwks: 1_048_576,
  /** Ports of a Service or WorkloadEntry, listeners of a Sidecar. */
  ports: 1024,
  /** Endpoints of a ServiceEntry. */
  endpoints: 1024,
  /** Names of a server, namespaces of `exportTo`. */
  names: 256,
  /** Characters of a file's path (PATH_MAX of Linux). */
  path: 4095,
  /** Elements of a list of a MeshConfig. */
  meshValues: 256,
  /** Sources of roots in a MeshConfig, and characters of one in PEM. */
  caCertificates: 64,
  roots: 65_536,
  /** Hosts of an egress listener, of a Gateway's server, of a VirtualService. */
  hosts: 4096,
  /** Characters of a value of a Secret: Kubernetes allows 1 MiB of bytes. */
  secret: 1_400_000,
  /** Suites, names and hashes of a server's TLS. */
  tlsValues: 256,
  /** Gateways of a VirtualService. */
  gateways: 256,
  /** Routes of a VirtualService. */
  routes: 4096,
  /** Matches, headers and destinations of a route. */
  routeValues: 256,
} as const;
