import { MARK_BYTES, writeMark, type Guard } from '../redis/guard.js';

const RETENTION_BYTES = 6;

/** A guard as `lua/lib/fence.lua` takes it; empty for none. */
export function packGuard(guard: Guard | undefined, retentionMs: number): Buffer | '' {
  if (guard === undefined) return '';
  const packed = Buffer.alloc(MARK_BYTES + RETENTION_BYTES);
  writeMark(guard, packed);
  packed.writeUIntBE(retentionMs, MARK_BYTES, RETENTION_BYTES);
  return packed;
}
