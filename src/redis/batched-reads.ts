import { UnexpectedReplyError } from './lua-script.js';

type Send = (command: readonly string[]) => Promise<unknown>;

interface Read {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

interface Batch {
  readonly keys: string[];
  readonly reads: Read[];
}

/** A longer command would keep Redis from everybody else for too long. */
const MAX_KEYS = 256;

/**
 * Gathers the plain reads of one turn of the event loop into one MGET: a command of its own for each costs the service
 * 4 µs, a key of MGET less than 1. For one Redis; on Cluster keys of one command would have to share a slot.
 *
 * MGET answers null also for a key of another kind. EXISTS tells whether any of the nulls is one, and then GET says
 * which: it fails for that key as it would have alone.
 */
export class BatchedReads {
  private batch: Batch | undefined;

  constructor(
    private readonly send: Send,
    /** What a failed read is rejected with. */
    private readonly toError: (error: unknown) => unknown,
  ) {}

  /** Answers null for a key that is not there. */
  get(key: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.batch ??= this.begin();
      const { keys, reads } = this.batch;
      keys.push(key);
      reads.push({ resolve, reject });
      if (keys.length === MAX_KEYS) this.batch = undefined;
    });
  }

  private begin(): Batch {
    const batch: Batch = { keys: [], reads: [] };
    // node-redis writes at the end of the turn, so this has to come before it: when the running callback is done
    process.nextTick(() => {
      if (this.batch === batch) this.batch = undefined;
      this.read(batch).catch((failure: unknown) => {
        const error = this.toError(failure);
        for (const { reject } of batch.reads) reject(error);
      });
    });
    return batch;
  }

  private async read({ keys, reads }: Batch): Promise<void> {
    const [first = ''] = keys;
    if (keys.length === 1) {
      reads[0]?.resolve(await this.send(['GET', first]));
      return;
    }
    const values = await this.send(['MGET', ...keys]);
    if (!Array.isArray(values) || values.length !== keys.length) throw new UnexpectedReplyError('MGET is no list');
    const missing: number[] = [];
    for (let index = 0; index < keys.length; index++) {
      const value: unknown = values[index];
      if (value === null) missing.push(index);
      else reads[index]?.resolve(value);
    }
    if (missing.length > 0) await this.readMissing(missing, { keys, reads });
  }

  private async readMissing(missing: readonly number[], { keys, reads }: Batch): Promise<void> {
    const existing = await this.send(['EXISTS', ...missing.map((index) => keys[index] ?? '')]);
    for (const index of missing) {
      const read = reads[index];
      if (existing === 0) read?.resolve(null);
      else this.readAlone(keys[index] ?? '', read);
    }
  }

  private readAlone(key: string, read: Read | undefined): void {
    this.send(['GET', key]).then(
      (value) => read?.resolve(value),
      (error: unknown) => read?.reject(this.toError(error)),
    );
  }
}
