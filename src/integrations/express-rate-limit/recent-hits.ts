import { performance } from 'node:perf_hooks';

export interface RecentHitsOptions {
  /** For how long a hit can be taken back. */
  readonly spanMs: number;
  /** Of one key in a span; Infinity where a limit bounds them. */
  readonly maxReserved: number;
}

/** Of one key in one generation. */
interface KeyHits {
  /** Of the window that these were counted in. */
  resetAtMs: number;
  /** Those that the service counted and can take back, newest last. */
  reservationIds: string[];
  /** Those over the limit, which the service did not count: taking one back is nothing to it. */
  denied: number;
  /** Asked for in this generation, whatever became of them. */
  reserved: number;
}

/**
 * The last hits of each key, for one to two spans of time: in two generations, so that what is never taken back goes without
 * a timer. Of a window that is over nothing is kept.
 */
export class RecentHits {
  private current = new Map<string, KeyHits>();
  private previous = new Map<string, KeyHits>();
  private rotateAt: number;

  constructor(private readonly options: RecentHitsOptions) {
    this.rotateAt = performance.now() + options.spanMs;
  }

  /** Whether another hit may be made one that can be taken back; counts it as such. */
  mayReserve(key: string): boolean {
    const hits = this.hitsOf(key);
    if (hits.reserved >= this.options.maxReserved) return false;
    hits.reserved++;
    return true;
  }

  admit(key: string, resetAtMs: number, reservationId: string): void {
    const hits = this.inWindow(key, resetAtMs);
    hits?.reservationIds.push(reservationId);
  }

  /** Answers how many hits over the limit there are now, this one included. */
  deny(key: string, resetAtMs: number): number {
    const hits = this.inWindow(key, resetAtMs);
    if (hits !== undefined) hits.denied++;
    return Math.max(1, this.deniedOf(key, resetAtMs));
  }

  deniedOf(key: string, resetAtMs: number): number {
    this.rotate();
    return [this.current, this.previous].reduce((sum, generation) => {
      const hits = generation.get(key);
      return hits?.resetAtMs === resetAtMs ? sum + hits.denied : sum;
    }, 0);
  }

  /**
   * Takes the last hit back, one over the limit first: hits are all alike, and by taking those back the limit must not let
   * anybody in. Answers what the service is to take back.
   */
  take(key: string): string | undefined {
    this.rotate();
    const generations = [this.current.get(key), this.previous.get(key)];
    const over = generations.find((hits) => hits !== undefined && hits.denied > 0);
    if (over !== undefined) {
      over.denied--;
      return undefined;
    }
    return generations[0]?.reservationIds.pop() ?? generations[1]?.reservationIds.pop();
  }

  forget(key: string): void {
    this.current.delete(key);
    this.previous.delete(key);
  }

  private hitsOf(key: string): KeyHits {
    this.rotate();
    const known = this.current.get(key);
    if (known !== undefined) return known;
    const hits: KeyHits = {
      resetAtMs: this.previous.get(key)?.resetAtMs ?? 0,
      reservationIds: [],
      denied: 0,
      reserved: 0,
    };
    this.current.set(key, hits);
    return hits;
  }

  /** Undefined where the window is over: an answer that was overtaken by one of the next. */
  private inWindow(key: string, resetAtMs: number): KeyHits | undefined {
    const hits = this.hitsOf(key);
    if (resetAtMs < hits.resetAtMs) return undefined;
    if (resetAtMs > hits.resetAtMs) {
      hits.resetAtMs = resetAtMs;
      hits.reservationIds = [];
      hits.denied = 0;
      this.previous.delete(key);
    }
    return hits;
  }

  private rotate(): void {
    const now = performance.now();
    if (now < this.rotateAt) return;
    const { spanMs } = this.options;
    this.previous = now < this.rotateAt + spanMs ? this.current : new Map<string, KeyHits>();
    this.current = new Map();
    this.rotateAt = now + spanMs;
  }
}
