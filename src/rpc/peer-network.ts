/** Who counts as one where only an address is known: a network of IPv6 that one customer has (/64), one address of IPv4. */
export function networkOf(address: string): string {
  return address.includes(":") && !address.includes(".") ? address.split(":").slice(0, 4).join(":") : address;
}
