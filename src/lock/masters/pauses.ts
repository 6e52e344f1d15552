import type { ParkableCall } from '../../redis/call.js';

/** Calls that wait between two tries. */
export class Pauses {
  private readonly pausing = new Set<CallPauses>();
  private draining = false;

  get isDraining(): boolean {
    return this.draining;
  }

  open(call: ParkableCall): CallPauses {
    return new CallPauses(call, this, this.pausing);
  }

  /** Ends all pauses, and lets nobody pause. */
  drain(): void {
    this.draining = true;
    for (const pauses of [...this.pausing]) pauses.end();
  }
}

/** The pauses of one call. */
export class CallPauses {
  private wake: () => void = () => undefined;

  constructor(
    private readonly call: ParkableCall,
    private readonly all: { readonly isDraining: boolean },
    private readonly pausing: Set<CallPauses>,
  ) {
    call.whenEnded(() => {
      this.end();
    });
  }

  /** Answers after so long whether to try again: not when the call has ended or the service drains. */
  async pause(pauseMs: number): Promise<boolean> {
    if (this.isOver()) return false;
    this.pausing.add(this);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, pauseMs);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.pausing.delete(this);
    return !this.isOver();
  }

  end(): void {
    this.wake();
  }

  private isOver(): boolean {
    return this.call.ended || this.all.isDraining;
  }
}
