import { performance } from 'node:perf_hooks';

/**
 * The last hits of each key that can be taken back, newest first, for one to two spans of time. Two generations, so that what
 * is never taken back goes without a timer.
 */
export class RecentHits {
  private current = new Map<string, string[]>();
  private previous = new Map<string, string[]>();
  private rotateAt: number;

  constructor(private readonly spanMs: number) {
    this.rotateAt = performance.now() + spanMs;
  }

  add(key: string, reservationId: string): void {
    this.rotate();
    const hits = this.current.get(key);
    if (hits === undefined) this.current.set(key, [reservationId]);
    else hits.push(reservationId);
  }

  take(key: string): string | undefined {
    this.rotate();
    return this.current.get(key)?.pop() ?? this.previous.get(key)?.pop();
  }

  forget(key: string): void {
    this.current.delete(key);
    this.previous.delete(key);
  }

  private rotate(): void {
    const now = performance.now();
    if (now < this.rotateAt) return;
    this.previous = now < this.rotateAt + this.spanMs ? this.current : new Map<string, string[]>();
    this.current = new Map();
    this.rotateAt = now + this.spanMs;
  }
}
