import { UnexpectedReplyError } from './lua-script.js';

type Send = (command: readonly string[]) => Promise<unknown>;

interface Read {
  readonly parse: (value: unknown) => unknown;
  readonly resolve: (parsed: unknown) => void;
  readonly reject: (error: unknown) => void;
}

interface Batch {
  readonly keys: string[];
  readonly reads: Read[];
}

/** Parses here and not behind another promise: at this rate each one counts. */
function settle({ parse, resolve, reject }: Read, value: unknown): void {
  try {
    resolve(parse(value));
  } catch (error) {
    reject(error);
  }
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

  /** Answers what `parse` makes of the value; it gets null for a key that is not there. */
  get<Value>(key: string, parse: (value: unknown) => Value | Promise<Value>): Promise<Value> {
    return new Promise((resolve, reject) => {
      this.batch ??= this.begin();
      const { keys, reads } = this.batch;
      keys.push(key);
      reads.push({ parse, resolve: resolve as (parsed: unknown) => void, reject });
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
    const [firstKey] = keys;
    const [firstRead] = reads;
    if (firstKey === undefined || firstRead === undefined) return;
    if (keys.length === 1) {
      settle(firstRead, await this.send(['GET', firstKey]));
      return;
    }
    const values = await this.send(['MGET', ...keys]);
    if (!Array.isArray(values) || values.length !== keys.length) throw new UnexpectedReplyError('MGET is no list');
    const missing: number[] = [];
    for (let index = 0; index < keys.length; index++) {
      const read = reads[index];
      const value: unknown = values[index];
      if (value === null) missing.push(index);
      else if (read !== undefined) settle(read, value);
    }
    if (missing.length > 0) await this.readMissing(missing, { keys, reads });
  }

  private async readMissing(missing: readonly number[], { keys, reads }: Batch): Promise<void> {
    const existing = await this.send(['EXISTS', ...missing.map((index) => keys[index] ?? '')]);
    for (const index of missing) {
      const read = reads[index];
      if (read === undefined) continue;
      if (existing === 0) settle(read, null);
      else this.readAlone(keys[index] ?? '', read);
    }
  }

  private readAlone(key: string, read: Read): void {
    this.send(['GET', key]).then(
      (value) => {
        settle(read, value);
      },
      (error: unknown) => {
        read.reject(this.toError(error));
      },
    );
  }
}
