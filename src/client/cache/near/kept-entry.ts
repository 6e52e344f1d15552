import { Buffer } from 'node:buffer';
import type { Entry } from '../../../gen/shardkeep/cache/v1/cache.js';

/** An answer of the service, for as long as its times allow. Times are on the clock of `performance.now()`. */
export class KeptEntry {
  private readonly entry: Entry | undefined;
  private readonly expiresAt: number | undefined;
  private readonly freshUntil: number | undefined;
  /** It must not be answered from then on. */
  readonly until: number;

  /** `sentAt`: when it was asked for. The service counted its times from later, so nothing lives too long. */
  constructor(entry: Entry | undefined, sentAt: number, maxAgeMs: number) {
    this.entry = entry && { ...entry, value: copyOf(entry.value) };
    this.expiresAt = endOf(entry?.ttlMs, sentAt);
    this.freshUntil = endOf(entry?.freshTtlMs, sentAt);
    this.until = Math.min(sentAt + maxAgeMs, this.expiresAt ?? Infinity, this.freshUntil ?? Infinity);
  }

  /** The entry with the time it has left; undefined: the key holds none. */
  answerAt(now: number): Entry | undefined {
    const { entry } = this;
    if (entry === undefined) return undefined;
    return { ...entry, ttlMs: leftOf(this.expiresAt, now), freshTtlMs: leftOf(this.freshUntil, now) };
  }
}

function endOf(durationMs: bigint | undefined, sentAt: number): number | undefined {
  return durationMs === undefined ? undefined : sentAt + Number(durationMs);
}

function leftOf(end: number | undefined, now: number): bigint | undefined {
  return end === undefined ? undefined : BigInt(Math.ceil(end - now));
}

/** What comes out of a frame may be a part of a pool, and who keeps it keeps all of that. */
function copyOf(value: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(value.length);
  value.copy(copy);
  return copy;
}
