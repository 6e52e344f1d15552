import { isIP } from 'node:net';
import type { SessionClient, SessionGuard } from '../gen/shardkeep/session/v1/session.js';
import { integer, list, map, message, optional, text, type Rule } from '../grpc/rules.js';
import type { Guard } from '../redis/guard.js';
import { MAX_METADATA, UPDATABLE_FIELDS } from './changes.js';
import { isToken, partitionOfSession } from './token.js';

/** Rules that several RPCs of the service share. */

export const MAX_TTL_MS = 31_536_000_000n;
export const MAX_TIME_MS = 253_402_300_799_999n;
export const INT64_MAX = 2n ** 63n - 1n;
/** Of fencing tokens and epochs. */
export const MAX_SAFE = 2n ** 53n - 1n;
const MAX_ANNOUNCED_MS = 86_400_000n;

export const name = text({ minBytes: 0, maxBytes: 128 });
export const userId = text({ minBytes: 1, maxBytes: 128 });
export const roles = list(text({ minBytes: 1, maxBytes: 128 }), { min: 0, max: 64 });
export const permissions = list(text({ minBytes: 1, maxBytes: 128 }), { min: 0, max: 256 });
export const metadataKey = text({ minBytes: 1, maxBytes: 64, pattern: /^[a-z0-9_.-]+$/ });
export const metadata = map(metadataKey, text({ minBytes: 0, maxBytes: 512 }), { max: MAX_METADATA });
export const reason = text({ minBytes: 0, maxBytes: 64 });
export const playerMessage = text({ minBytes: 0, maxBytes: 256 });
export const effectiveInMs = optional(integer({ min: 1n, max: MAX_ANNOUNCED_MS }));

const noOrAddress: Rule<string> = (value, field, violations) => {
  // with a port behind it, it would be no address, and not compared
  if (value !== '' && isIP(value) === 0) violations.push({ field, description: 'is no IP address' });
};

export const client = optional(
  message<SessionClient>({
    ip: noOrAddress,
    userAgent: text({ minBytes: 0, maxBytes: 512 }),
    deviceId: text({ minBytes: 0, maxBytes: 512 }),
  }),
);

const requestId = text({ minBytes: 22, maxBytes: 128 });
export const noOrRequestId: Rule<string> = (value, field, violations) => {
  if (value !== '') requestId(value, field, violations);
};

export const sessionId: Rule<string> = (value, field, violations) => {
  if (partitionOfSession(value) === undefined) violations.push({ field, description: 'is no session id' });
};
export const noOrSessionId: Rule<string> = (value, field, violations) => {
  if (value !== '') sessionId(value, field, violations);
};
export const sessionToken: Rule<string> = (value, field, violations) => {
  if (!isToken(value)) violations.push({ field, description: 'is no session token' });
};
export const noOrSessionToken: Rule<string> = (value, field, violations) => {
  if (value !== '') sessionToken(value, field, violations);
};
export const updatableField: Rule<string> = (value, field, violations) => {
  if (!(UPDATABLE_FIELDS as readonly string[]).includes(value)) {
    violations.push({ field, description: `must be one of ${UPDATABLE_FIELDS.join(', ')}` });
  }
};

export function optionalNumber(value: bigint | undefined): number | undefined {
  return value === undefined ? undefined : Number(value);
}

export function toGuard(message: SessionGuard | undefined): Guard | undefined {
  if (message === undefined) return undefined;
  return { resource: message.resource, fencingToken: Number(message.fencingToken) };
}
