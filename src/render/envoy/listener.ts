/** What inbound and outbound listeners have in common. */

/**
 * A listener alone on its port. Envoy's own default (SO_REUSEPORT) would share it with any other process of this user
 * that does the same, such as the proxy of a second mesh, and each would get some of the connections. The workers then
 * share one socket, so they are told to share out its connections.
 */
export const ALONE = {
  enableReusePort: false,
  connectionBalanceConfig: { balanceType: { case: "exactBalance", value: {} } },
} as const;
