/** How many lines of a kind a second shall hold. */
const WINDOW_MS = 1_000;

/**
 * Lets so many lines a second through; how many there were beyond that is told when the second is over, also when no line
 * follows. Looks at no clock.
 */
export class LogLimit {
  private written = 0;
  private suppressed = 0;

  constructor(
    private readonly maxLines: number,
    /** Called with at least 1. */
    private readonly onSuppressed: (count: number) => void,
  ) {}

  /** Whether one more line may be written now; it counts as written. */
  admits(): boolean {
    if (this.written >= this.maxLines) {
      this.suppressed++;
      return false;
    }
    // the first line of a window begins it
    if (this.written === 0) {
      setTimeout(() => {
        this.close();
      }, WINDOW_MS).unref();
    }
    this.written++;
    return true;
  }

  private close(): void {
    const { suppressed } = this;
    this.written = 0;
    this.suppressed = 0;
    if (suppressed > 0) this.onSuppressed(suppressed);
  }
}
