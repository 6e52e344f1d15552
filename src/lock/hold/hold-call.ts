import type { ParkableCall } from '../../redis/call.js';

/** One request of a stream, as the store of locks sees a call. It may wait: how many there are is bounded by the stream. */
export class HoldCall implements ParkableCall {
  readonly isAcquire: boolean;
  /** Whether it is one that may wait for somebody else. */
  readonly waits: boolean;
  ended = false;
  private readonly listeners: (() => void)[] = [];

  constructor(
    readonly namespace: string,
    /** On the clock of `performance.now()`. */
    readonly deadlineAt: number,
    { isAcquire, waits }: { readonly isAcquire: boolean; readonly waits: boolean },
  ) {
    this.isAcquire = isAcquire;
    this.waits = waits;
  }

  end(): void {
    if (this.ended) return;
    this.ended = true;
    for (const listener of this.listeners.splice(0)) listener();
  }

  park(): boolean {
    return true;
  }

  unpark(): void {
    // counts nowhere
  }

  whenEnded(listener: () => void): void {
    if (this.ended) listener();
    else this.listeners.push(listener);
  }
}
