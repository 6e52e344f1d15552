import { Buffer } from 'node:buffer';
import { hash } from 'node:crypto';
import { isIP } from 'node:net';
import { SessionClientField, type SessionClient } from '../gen/shardkeep/session/v1/session.js';
import type { SessionTerms } from './profiles.js';
import { boundClientAt } from './record.js';

/**
 * Whom a session is bound to: for each field of SessionClient the profile's policy and a hash of the value, as field 2 of
 * the record holds them (`lua/lib/record.lua`). Hashes, so that nothing of a player's address or device is told by Redis
 * that the metadata does not tell anyway, and so that all values have one length.
 */

type Policy = SessionTerms['binding']['ip'];
const POLICY_BITS: Readonly<Record<Policy, number>> = { ignore: 0, signal: 1, reject: 2 };
const REJECT = POLICY_BITS.reject;

const HASH_BYTES = 8;
const FIELD_COUNT = 3;
const NOTHING = Buffer.alloc(0);
/** Of a text that is no address: nobody's. */
const NO_NETWORK = 'none';

/** In the order of the record. */
const FIELDS = [SessionClientField.IP, SessionClientField.USER_AGENT, SessionClientField.DEVICE_ID] as const;

/** How a client differs from whom a session was created for. */
export interface ClientComparison {
  /** Without those that the profile ignores. */
  readonly changedFields: readonly SessionClientField[];
  /** One of them is to be rejected by. */
  readonly rejected: boolean;
}

export const SAME_CLIENT: ClientComparison = { changedFields: [], rejected: false };

/** The three hashes of who presents a token; all zero stands for a value that was not given, and so is not compared. */
export function hashClient(client: SessionClient): Buffer {
  return hashesOf(client, client.ip === '' ? '' : networkOf(client.ip) || NO_NETWORK);
}

/** The same of whom a session is bound to from now on; an address that is none is not compared. */
export function hashBoundClient(client: SessionClient): Buffer {
  return hashesOf(client, networkOf(client.ip));
}

function hashesOf({ userAgent, deviceId }: SessionClient, network: string): Buffer {
  const hashes = Buffer.alloc(FIELD_COUNT * HASH_BYTES);
  const hashAt = (index: number, value: string): void => {
    hash('sha256', value, 'buffer').copy(hashes, index * HASH_BYTES, 0, HASH_BYTES);
  };
  if (network !== '') hashAt(0, network);
  // of one that is nothing but versions, nothing is left to compare, which is not what others leave
  if (userAgent !== '') hashAt(1, agentOf(userAgent));
  if (deviceId !== '') hashAt(2, deviceId);
  return hashes;
}

/** Field 2 of the record of a new session; empty where its profile compares nothing. */
export function bindingOf(policies: SessionTerms['binding'], metadata: ReadonlyMap<string, string>): Buffer {
  const bits =
    POLICY_BITS[policies.ip] | (POLICY_BITS[policies.user_agent] << 2) | (POLICY_BITS[policies.device_id] << 4);
  if (bits === 0) return NOTHING;
  const client = {
    ip: metadata.get('ip') ?? '',
    userAgent: metadata.get('user_agent') ?? '',
    deviceId: metadata.get('device_id') ?? '',
  };
  return Buffer.concat([Buffer.of(bits), hashBoundClient(client)]);
}

/** Compares a packed session with the hashes of who presents its token; only fields that both know. */
export function compareClient(packed: Buffer, client: Buffer): ClientComparison {
  const at = boundClientAt(packed);
  if (at === undefined) return SAME_CLIENT;
  const policies = packed[at] ?? 0;
  const changedFields: SessionClientField[] = [];
  let rejected = false;
  FIELDS.forEach((field, index) => {
    const policy = (policies >> (2 * index)) & 3;
    const given = client.readBigUInt64BE(index * HASH_BYTES);
    const known = packed.readBigUInt64BE(at + 1 + index * HASH_BYTES);
    if (policy === POLICY_BITS.ignore || given === 0n || known === 0n || given === known) return;
    changedFields.push(field);
    if (policy === REJECT) rejected = true;
  });
  return changedFields.length === 0 ? SAME_CLIENT : { changedFields, rejected };
}

/** The first 24 bits of an IPv4 address, the first 48 of an IPv6 one; '' for what is no address. */
export function networkOf(ip: string): string {
  const version = isIP(ip);
  if (version === 4) return ip.slice(0, ip.lastIndexOf('.'));
  if (version !== 6) return '';
  const groups = groupsOf(ip);
  const [, , , , , marker, high = 0, low = 0] = groups;
  // IPv4-mapped: ::ffff:0:0/96
  if (marker === 0xffff && groups.slice(0, 5).every((group) => group === 0)) {
    return [high >> 8, high & 0xff, low >> 8].join('.');
  }
  return groups
    .slice(0, 3)
    .map((group) => group.toString(16))
    .join(':');
}

/** The eight numbers of an IPv6 address that was found right. */
function groupsOf(ip: string): number[] {
  const [address = ''] = ip.split('%');
  // the last two may be written as an IPv4 address
  const hexadecimal = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...bytes: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = bytes.slice(0, 4).map(Number);
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  });
  const [before = [], behind = []] = hexadecimal
    .split('::')
    .map((part) => part.split(':').filter((group) => group !== ''));
  const zeros = new Array<string>(8 - before.length - behind.length).fill('0');
  return [...before, ...zeros, ...behind].map((group) => Number.parseInt(group, 16));
}

/** A user agent without what changes with its versions: what stands behind a slash, and every number. */
export function agentOf(userAgent: string): string {
  return userAgent.replace(/\/[^\s;()]*|\d[\d._]*/g, '');
}
