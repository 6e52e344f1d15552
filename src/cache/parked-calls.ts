import { performance } from 'node:perf_hooks';
import type { ParkableCall } from '../redis/call.js';

/** Tells of changes of single keys. */
export interface KeyChanges {
  /**
   * Reads the string at a key; from that read on calls `onChange` once, when the key changes or when that can no longer
   * be told.
   */
  read(key: string, onChange: () => void): Promise<{ readonly value: unknown; readonly stop: () => void }>;
}

export interface ParkOptions {
  /** Whether what was read at the key is what its callers wait for to change. */
  readonly isUnchanged: (value: unknown) => boolean;
  /** When the lease ends: nothing tells of that in time. */
  readonly leaseEndsInMs: number;
  /** On the clock of `performance.now()`. */
  readonly giveUpAt: number;
}

interface ParkedKey {
  readonly waiting: Set<() => void>;
  stop: () => void;
}

/** Behind the end of a lease by Redis's clock, so that the next look finds it over. */
const LEASE_OVER_MS = 2;
/** How often a key is looked at while its changes cannot be told. */
const LOOK_AGAIN_MS = 100;
/** setTimeout takes no more. */
const MAX_TIMER_MS = 2_147_483_647;

/** Calls that wait for somebody else's load; all that wait for one key share one look-out. */
export class ParkedCalls {
  private readonly keys = new Map<string, ParkedKey>();
  private draining = false;

  constructor(private readonly changes: KeyChanges) {}

  /**
   * Resolves when the key has changed, the lease is over or the caller waits no more; answers false, at once, where the
   * call cannot wait because too many do, or the service is going away.
   */
  async untilChanged(key: string, options: ParkOptions, call: ParkableCall): Promise<boolean> {
    if (this.draining || !call.park()) return false;
    try {
      await this.wait(key, options, call);
    } finally {
      call.unpark();
    }
    return true;
  }

  /** Lets everybody go, and nobody in. */
  drain(): void {
    this.draining = true;
    for (const key of this.keys.keys()) this.wake(key);
  }

  private wait(key: string, { isUnchanged, leaseEndsInMs, giveUpAt }: ParkOptions, call: ParkableCall): Promise<void> {
    return new Promise((resolve) => {
      const parked = this.keys.get(key) ?? this.watch(key, isUnchanged);
      const wakeUp = (): void => {
        clearTimeout(timer);
        this.leave(key, parked, wakeUp);
        resolve();
      };
      parked.waiting.add(wakeUp);
      const waitMs = Math.min(giveUpAt - performance.now(), leaseEndsInMs + LEASE_OVER_MS, MAX_TIMER_MS);
      const timer = setTimeout(wakeUp, Math.max(0, Math.ceil(waitMs)));
      call.whenEnded(wakeUp);
    });
  }

  private watch(key: string, isUnchanged: (value: unknown) => boolean): ParkedKey {
    const parked: ParkedKey = { waiting: new Set(), stop: () => undefined };
    this.keys.set(key, parked);
    const wake = (): void => {
      if (this.keys.get(key) === parked) this.wake(key);
    };
    const wakeLater = (): void => {
      setTimeout(wake, LOOK_AGAIN_MS);
    };
    let arrived = false;
    let changed = false;
    const onChange = (): void => {
      changed = true;
      if (arrived) wake();
    };
    this.changes.read(key, onChange).then(({ value, stop }) => {
      arrived = true;
      parked.stop = stop;
      // it changed before the look-out began
      if (!isUnchanged(value)) wake();
      // its changes cannot be told now, such as while its slot moves
      else if (changed) wakeLater();
      // nobody waits any more
      if (this.keys.get(key) !== parked) stop();
    }, wakeLater);
    return parked;
  }

  private wake(key: string): void {
    const parked = this.keys.get(key);
    if (parked === undefined) return;
    this.keys.delete(key);
    parked.stop();
    for (const wakeUp of parked.waiting) wakeUp();
  }

  private leave(key: string, parked: ParkedKey, wakeUp: () => void): void {
    parked.waiting.delete(wakeUp);
    if (parked.waiting.size > 0 || this.keys.get(key) !== parked) return;
    this.keys.delete(key);
    parked.stop();
  }
}
