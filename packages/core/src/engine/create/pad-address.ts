const LONGEST = "255.255.255.255".length;

/** An address takes the same room in /etc/hosts whatever it is, so that a kept plan can be given another. */
export function padAddress(address: string): string {
  return address.padEnd(LONGEST);
}
