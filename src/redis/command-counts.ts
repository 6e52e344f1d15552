import { failureKind, type FailureKind } from './errors.js';

/** What becomes of the commands of one Redis, since the start of the process. */
export class CommandCounts {
  /** Sent, or about to be, and not answered. */
  pending = 0;
  /** How often a script was sent by its text, since the node did not know it. */
  scriptReloads = 0;
  /** Commands and calls of batches that failed, also where a second try did not. */
  readonly failures = new Map<FailureKind, number>();

  failed(error: unknown): void {
    const kind = failureKind(error);
    this.failures.set(kind, (this.failures.get(kind) ?? 0) + 1);
  }
}
