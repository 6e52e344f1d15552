import { NearCache, type Judge, type NearCacheOptions } from '../../src/cache/near-cache.js';
import type { KeyTracking } from '../../src/redis/tracking.js';

/** A near cache whose tracked reads are answered, and whose keys are changed, in the order of a test. */

export interface ScriptedRead {
  readonly key: string;
  readonly change: () => void;
  readonly answer: (value: string | null | Error) => Promise<void>;
  /** With a value. */
  answered: boolean;
  stopped: number;
}

export class ScriptedTracking {
  readonly reads: ScriptedRead[] = [];

  read(key: string, onChange: () => void): ReturnType<KeyTracking['read']> {
    return new Promise((resolve, reject) => {
      const read: ScriptedRead = {
        key,
        ...{ stopped: 0, answered: false },
        change: onChange,
        answer: async (value) => {
          const stop = (): void => {
            read.stopped++;
          };
          read.answered = !(value instanceof Error);
          if (value instanceof Error) reject(value);
          else resolve({ value: value === null ? null : Buffer.from(value), tracked: true, stop });
          // everything that follows from an answer is microtasks
          await new Promise(setImmediate);
        },
      };
      this.reads.push(read);
    });
  }

  last(): ScriptedRead {
    const read = this.reads.at(-1);
    if (read === undefined) throw new Error('nothing was read');
    return read;
  }
}

export const ROOMY: Omit<NearCacheOptions, 'tracking'> = { maxBytes: 1_000_000, ttlMs: 60_000, keepsMissing: true };
export const takeAll: Judge<string> = (packed) => ({ value: packed === null ? 'none' : packed.toString() });
export const fromRedis = (): Promise<string> => Promise.resolve('from Redis');

export function scripted(options: Partial<NearCacheOptions> = {}): { near: NearCache; tracking: ScriptedTracking } {
  const tracking = new ScriptedTracking();
  return { tracking, near: new NearCache({ ...ROOMY, ...options, tracking }) };
}
