import { UnexpectedReplyError } from './lua-script.js';

type Send = (command: readonly [name: string, ...keys: string[]]) => Promise<unknown>;

interface Read {
  readonly parse: (value: unknown) => unknown;
  readonly resolve: (parsed: unknown) => void;
  readonly reject: (error: unknown) => void;
  /** Another read of the same key. */
  readonly next: Read | undefined;
}

/** By key. */
type Batch = Map<string, Read>;

/** Parses here and not behind another promise: at this rate each one counts. */
function settle(reads: Read, value: unknown): void {
  for (let read: Read | undefined = reads; read !== undefined; read = read.next) {
    try {
      read.resolve(read.parse(value));
    } catch (error) {
      read.reject(error);
    }
  }
}

function fail(reads: Read, error: unknown): void {
  for (let read: Read | undefined = reads; read !== undefined; read = read.next) read.reject(error);
}

/** A longer command would keep Redis from everybody else for too long. */
const MAX_KEYS = 256;

/**
 * Gathers the plain reads of one turn of the event loop into one MGET: a command of its own for each costs the service
 * 4 µs, a key of MGET less than 1. For one Redis; on Cluster keys of one command would have to share a slot. Reads of
 * the same key share it: none was sent when the last of them was made, so all see what was written before.
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
      const { batch } = this;
      batch.set(key, { parse, resolve: resolve as (parsed: unknown) => void, reject, next: batch.get(key) });
      if (batch.size === MAX_KEYS) this.batch = undefined;
    });
  }

  private begin(): Batch {
    const batch: Batch = new Map();
    // node-redis writes at the end of the turn, so this has to come before it: when the running callback is done
    process.nextTick(() => {
      if (this.batch === batch) this.batch = undefined;
      this.read(batch).catch((failure: unknown) => {
        const error = this.toError(failure);
        for (const reads of batch.values()) fail(reads, error);
      });
    });
    return batch;
  }

  private async read(batch: Batch): Promise<void> {
    const keys = [...batch.keys()];
    const [first] = keys;
    if (keys.length === 1 && first !== undefined) {
      this.settleKey(batch, first, await this.send(['GET', first]));
      return;
    }
    const values = await this.send(['MGET', ...keys]);
    if (!Array.isArray(values) || values.length !== keys.length) throw new UnexpectedReplyError('MGET is no list');
    const missing: string[] = [];
    let index = 0;
    for (const [key, reads] of batch) {
      const value: unknown = values[index++];
      if (value === null) missing.push(key);
      else settle(reads, value);
    }
    if (missing.length > 0) await this.readMissing(batch, missing);
  }

  private async readMissing(batch: Batch, missing: readonly string[]): Promise<void> {
    const existing = await this.send(['EXISTS', ...missing]);
    for (const key of missing) {
      if (existing === 0) this.settleKey(batch, key, null);
      else this.readAlone(batch, key);
    }
  }

  private readAlone(batch: Batch, key: string): void {
    this.send(['GET', key]).then(
      (value) => {
        this.settleKey(batch, key, value);
      },
      (error: unknown) => {
        const reads = batch.get(key);
        if (reads !== undefined) fail(reads, this.toError(error));
      },
    );
  }

  private settleKey(batch: Batch, key: string, value: unknown): void {
    const reads = batch.get(key);
    if (reads !== undefined) settle(reads, value);
  }
}
