import { isIPv4, isIPv6 } from 'node:net';

/** IP addresses as numbers, so that one is counted alike however it is written. */

/** 4 or 16 bytes. An IPv4 address mapped to IPv6 (RFC 4291 2.5.5.2) is that IPv4 address. */
export type Address = readonly number[];

export const IPV4_BITS = 32;
export const IPV6_BITS = 128;
/** What stands before an IPv4 address that is mapped to IPv6. */
export const MAPPED_BITS = IPV6_BITS - IPV4_BITS;
const MAPPED_PREFIX = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
const IPV6_GROUPS = 8;

/** Undefined for what is no address. The zone of a link-local address is left out. */
export function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) return text.split('.').map(Number);
  if (!isIPv6(text)) return undefined;
  const bytes = ipv6Bytes(text);
  return MAPPED_PREFIX.every((byte, index) => bytes[index] === byte) ? bytes.slice(MAPPED_PREFIX.length) : bytes;
}

/** Of a text that is an IPv6 address. */
function ipv6Bytes(text: string): number[] {
  const [address = ''] = text.split('%');
  const [head = '', tail] = address.split('::');
  const front = groupsOf(head);
  if (tail === undefined) return front;
  const back = groupsOf(tail);
  return [...front, ...Array<number>(IPV6_GROUPS * 2 - front.length - back.length).fill(0), ...back];
}

/** The bytes of groups between colons, the last of which may be an IPv4 address. */
function groupsOf(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    if (group.includes('.')) return group.split('.').map(Number);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}

/** The address with everything after its first `bits` bits set to 0. */
export function networkOf(address: Address, bits: number): Address {
  return address.map((byte, index) => {
    const kept = Math.min(8, Math.max(0, bits - index * 8));
    return byte & (0xff00 >> kept) & 0xff;
  });
}

/** As RFC 5952 writes it. */
export function formatAddress(address: Address): string {
  if (address.length * 8 === IPV4_BITS) return address.join('.');
  const groups = Array.from({ length: IPV6_GROUPS }, (_, index) =>
    (((address[index * 2] ?? 0) << 8) | (address[index * 2 + 1] ?? 0)).toString(16),
  );
  const zeros = longestZeros(groups);
  if (zeros === undefined) return groups.join(':');
  return `${groups.slice(0, zeros.from).join(':')}::${groups.slice(zeros.until).join(':')}`;
}

/** The first of the longest runs of two zero groups or more. */
function longestZeros(groups: readonly string[]): { readonly from: number; readonly until: number } | undefined {
  let longest: { from: number; until: number } | undefined;
  for (let from = 0; from < groups.length; from++) {
    let until = from;
    while (groups[until] === '0') until++;
    if (until - from >= 2 && (longest === undefined || until - from > longest.until - longest.from)) {
      longest = { from, until };
    }
    from = Math.max(from, until - 1);
  }
  return longest;
}
