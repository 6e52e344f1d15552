import { formatAddress, IPV4_BITS, IPV6_BITS, networkOf, parseAddress } from './address.js';

/** What the subjects of addresses begin with. */
export const IP_PREFIX = 'ip:';
/** A site has at least so many bits of its own (RFC 6177): whoever has one address in it has them all. */
export const DEFAULT_IPV6_PREFIX = 64;

/**
 * How a subject is counted. `ip:` and an address: an IPv6 address as its network of `ipv6Prefix` bits, an IPv4 address
 * mapped to IPv6 as that IPv4 address. Everything else as it is written; so is what this answers.
 */
export function countedSubject(subject: string, ipv6Prefix: number): string {
  if (!subject.startsWith(IP_PREFIX)) return subject;
  const address = parseAddress(subject.slice(IP_PREFIX.length));
  if (address === undefined) return subject;
  if (address.length * 8 === IPV4_BITS || ipv6Prefix === IPV6_BITS) return IP_PREFIX + formatAddress(address);
  return `${IP_PREFIX}${formatAddress(networkOf(address, ipv6Prefix))}/${String(ipv6Prefix)}`;
}

/** The kind of a subject `kind:id`; the whole of one without colon. */
export function kindOf(subject: string): string {
  const colon = subject.indexOf(':');
  return colon < 0 ? subject : subject.slice(0, colon);
}
