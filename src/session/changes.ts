import { DomainError, invalidField } from '../errors.js';
import type { UpdateSessionRequest } from '../gen/shardkeep/session/v1/session.js';
import type { SessionContent } from './record.js';

/** What UpdateSession does to the fields of a session. */

export const UPDATABLE_FIELDS = [
  'username',
  'roles',
  'permissions',
  'organization_id',
  'character_id',
  'metadata',
] as const;

export const MAX_METADATA = 32;

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

export function applyChanges(content: SessionContent, request: UpdateSessionRequest): SessionContent {
  const { fields } = request;
  const mask = new Set(request.updateMask);
  const changed = { ...content, metadata: new Map(content.metadata) };
  if (fields !== undefined) {
    if (mask.has('username')) changed.username = fields.username;
    if (mask.has('roles')) changed.roles = fields.roles;
    if (mask.has('permissions')) changed.permissions = fields.permissions;
    if (mask.has('organization_id')) changed.organizationId = fields.organizationId;
    if (mask.has('character_id')) changed.characterId = fields.characterId;
    if (mask.has('metadata')) for (const [key, value] of fields.metadata) changed.metadata.set(key, value);
  }
  for (const key of request.removeMetadataKeys) changed.metadata.delete(key);
  for (const [key, delta] of request.incrementMetadata) {
    changed.metadata.set(key, String(sum(changed.metadata.get(key) ?? '0', delta)));
  }
  if (changed.metadata.size > MAX_METADATA) {
    throw invalidField('fields.metadata', `the session would have more than ${String(MAX_METADATA)} entries`);
  }
  return changed;
}

function sum(digits: string, delta: bigint): bigint {
  if (/^-?\d{1,19}$/.test(digits)) {
    const result = BigInt(digits) + delta;
    if (result >= INT64_MIN && result <= INT64_MAX) return result;
  }
  throw new DomainError('NOT_AN_INTEGER', 'the metadata value is no 64-bit integer, or the sum is none');
}
