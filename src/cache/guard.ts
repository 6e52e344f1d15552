import { createHash } from 'node:crypto';
import { DomainError } from '../errors.js';

/** Who writes: the holder of a lock, by the lock's resource and the fencing token of the grant. */
export interface Guard {
  readonly resource: string;
  /** 1 to 2^53 - 1. */
  readonly fencingToken: number;
}

const RESOURCE_BYTES = 8;
const TOKEN_AT = RESOURCE_BYTES;
const RETENTION_AT = 16;
const GUARD_BYTES = 22;
const RETENTION_BYTES = 6;

/** A guard as `lua/lib/fence.lua` takes it; empty for none. */
export function packGuard(guard: Guard | undefined, retentionMs: number): Buffer | '' {
  if (guard === undefined) return '';
  const packed = Buffer.alloc(GUARD_BYTES);
  createHash('sha256').update(guard.resource, 'utf8').digest().copy(packed, 0, 0, RESOURCE_BYTES);
  packed.writeBigUInt64BE(BigInt(guard.fencingToken), TOKEN_AT);
  packed.writeUIntBE(retentionMs, RETENTION_AT, RETENTION_BYTES);
  return packed;
}

/** What a script answers that refused a guard; `token` is the highest that was accepted. */
export function refusedGuard(status: 'FENCED' | 'TOO_MANY_GUARDS', token: bigint): DomainError {
  if (status === 'TOO_MANY_GUARDS') return new DomainError('TOO_MANY_GUARDS', 'too many resources guard this key');
  return new DomainError('OLD_FENCING_TOKEN', 'a later holder of the lock has written', {
    metadata: { fencing_token: String(token) },
  });
}
