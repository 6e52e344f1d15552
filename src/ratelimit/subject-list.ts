import { BlockList, isIP } from 'node:net';
import { formatAddress, IPV4_BITS, IPV6_BITS, MAPPED_BITS, parseAddress, type Address } from './address.js';
import { IP_PREFIX } from './subject.js';

/** One entry of a list: a subject as it is written, or addresses. */
export type ListEntry =
  | { readonly kind: 'subject'; readonly subject: string }
  | { readonly kind: 'network'; readonly address: Address; readonly bits: number };

const SUBJECT = /^[a-z0-9_-]{1,32}:.+$/;
/** Digits, dots and colons with a length, or more colons than a subject needs: an address, right or wrong. */
const LIKE_ADDRESS = /^[0-9a-f.:]*(?:\/.*|:[0-9a-f.]*:[0-9a-f.:]*)$/i;
const MAX_SUBJECT_BYTES = 256;

/** Reads `kind:id`, an address or a CIDR, the last two with `ip:` before it or not. Undefined: none of these. */
export function parseListEntry(text: string): ListEntry | undefined {
  const written = text.startsWith(IP_PREFIX) ? text.slice(IP_PREFIX.length) : text;
  const network = parseNetwork(written);
  if (network !== undefined) return network;
  const isAddress = text.startsWith(IP_PREFIX) || LIKE_ADDRESS.test(text);
  if (isAddress || !SUBJECT.test(text) || Buffer.byteLength(text) > MAX_SUBJECT_BYTES) return undefined;
  return { kind: 'subject', subject: text };
}

function parseNetwork(text: string): ListEntry | undefined {
  const [, written = '', length] = /^([^/%]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const address = parseAddress(written);
  if (address === undefined) return undefined;
  const bits = address.length * 8;
  if (length === undefined) return { kind: 'network', address, bits };
  const isMapped = bits === IPV4_BITS && isIP(written) === 6;
  const kept = Number(length) - (isMapped ? MAPPED_BITS : 0);
  return kept >= 0 && kept <= bits ? { kind: 'network', address, bits: kept } : undefined;
}

/** Subjects and addresses that a policy names. */
export class SubjectList {
  /** As they are written, and single addresses in one form. */
  private readonly single = new Set<string>();
  /** Undefined where there are none: looking costs a microsecond. */
  private networks: BlockList | undefined;

  /** How many entries were given. */
  readonly size: number;

  /** Throws RangeError for an entry that is none. */
  constructor(entries: readonly string[]) {
    this.size = entries.length;
    for (const text of entries) {
      const entry = parseListEntry(text);
      if (entry === undefined) throw new RangeError('no subject, address or CIDR');
      if (entry.kind === 'subject') this.single.add(entry.subject);
      else if (entry.bits === entry.address.length * 8) this.single.add(IP_PREFIX + formatAddress(entry.address));
      else {
        this.networks ??= new BlockList();
        this.networks.addSubnet(formatAddress(entry.address), entry.bits, familyOf(entry.address));
      }
    }
  }

  /** Whether the list names a subject; of an address, the whole of it counts and not its network. */
  has(subject: string): boolean {
    if (!subject.startsWith(IP_PREFIX)) return this.single.has(subject);
    const address = parseAddress(subject.slice(IP_PREFIX.length));
    if (address === undefined) return false;
    const written = formatAddress(address);
    return this.single.has(IP_PREFIX + written) || this.networks?.check(written, familyOf(address)) === true;
  }
}

function familyOf(address: Address): 'ipv4' | 'ipv6' {
  return address.length * 8 === IPV6_BITS ? 'ipv6' : 'ipv4';
}
