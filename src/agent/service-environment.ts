/** Kubernetes' service variables, so that an application finds its egress listeners as it finds services there. */

/** One egress listener of the workload. */
export interface EgressService {
  /** The service's name without its namespace, such as `photo-backend`. */
  readonly service: string;
  /** Where the listener is bound. */
  readonly host: string;
  readonly port: number;
  readonly portName?: string;
}

const variable = (name: string) => name.replaceAll(/[^A-Za-z0-9]/g, "_").toUpperCase();

/**
 * `NAME_SERVICE_HOST`, `NAME_SERVICE_PORT` (the first of a service's ports) and `NAME_SERVICE_PORT_PORTNAME`, as the
 * kubelet makes them (`pkg/kubelet/envvars`). Of two services with one name, in two namespaces, the first is taken.
 */
export function serviceEnvironment(services: readonly EgressService[]): Readonly<Record<string, string>> {
  const environment = new Map<string, string>();
  const addNew = (name: string, value: string) => {
    if (!environment.has(name)) environment.set(name, value);
  };
  for (const { service, host, port, portName } of services) {
    const prefix = `${variable(service)}_SERVICE`;
    addNew(`${prefix}_HOST`, host);
    if (environment.get(`${prefix}_HOST`) !== host) continue;
    addNew(`${prefix}_PORT`, String(port));
    if (portName !== undefined) addNew(`${prefix}_PORT_${variable(portName)}`, String(port));
  }
  return Object.fromEntries(environment);
}
