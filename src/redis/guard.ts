import { createHash } from 'node:crypto';
import { DomainError } from '../errors.js';

/** Who writes: the holder of a lock or of a character, by a resource and the fencing token of the grant. */
export interface Guard {
  readonly resource: string;
  /** 1 to 2^53 - 1. */
  readonly fencingToken: number;
}

const RESOURCE_BYTES = 8;
const TOKEN_AT = RESOURCE_BYTES;
export const MARK_BYTES = 16;

/** Writes a guard, as `lua/fence.lua` takes it, to the first bytes of `into`. */
export function writeMark(guard: Guard, into: Buffer): void {
  createHash('sha256').update(guard.resource, 'utf8').digest().copy(into, 0, 0, RESOURCE_BYTES);
  into.writeBigUInt64BE(BigInt(guard.fencingToken), TOKEN_AT);
}

/** A guard as `lua/fence.lua` takes it; empty for none. */
export function packMark(guard: Guard | undefined): Buffer | '' {
  if (guard === undefined) return '';
  const packed = Buffer.alloc(MARK_BYTES);
  writeMark(guard, packed);
  return packed;
}

/** What a script answers that refused a guard; `token` is the highest that was accepted. */
export function refusedGuard(status: 'FENCED' | 'TOO_MANY_GUARDS', token: bigint): DomainError {
  if (status === 'TOO_MANY_GUARDS') return new DomainError('TOO_MANY_GUARDS', 'too many resources guard this already');
  return new DomainError('OLD_FENCING_TOKEN', 'somebody with a later fencing token has written', {
    metadata: { fencing_token: String(token) },
  });
}
