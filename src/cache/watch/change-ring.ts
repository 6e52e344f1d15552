import { randomBytes } from 'node:crypto';
import type { Change } from '../../redis/watch/topic.js';

const EPOCH_BYTES = 8;
const CURSOR_BYTES = EPOCH_BYTES + 8;

/** The latest changes, numbered from 1. */
export class ChangeRing {
  /** Tells the cursors of this process from those of others. */
  private readonly epoch = randomBytes(EPOCH_BYTES);
  private readonly changes: (Change | undefined)[] = [];
  private last = 0;
  /** Whether somebody has a cursor of the current position. */
  private isNamed = false;

  constructor(private readonly capacity: number) {}

  push(change: Change): void {
    this.advance(change);
  }

  /** A position that is behind all cursors that were given until now, and at or before those that will be. */
  mark(): number {
    if (this.isNamed) this.advance(undefined);
    return this.last;
  }

  /** Names the current position to somebody who comes back. */
  cursor(): Buffer {
    const cursor = Buffer.alloc(CURSOR_BYTES);
    this.epoch.copy(cursor);
    this.isNamed = true;
    cursor.writeBigUInt64BE(BigInt(this.last), EPOCH_BYTES);
    return cursor;
  }

  /** The position that a cursor names; undefined where it is another process's, or too much has changed since. */
  positionOf(cursor: Buffer): number | undefined {
    if (cursor.length !== CURSOR_BYTES || !cursor.subarray(0, EPOCH_BYTES).equals(this.epoch)) return undefined;
    const position = Number(cursor.readBigUInt64BE(EPOCH_BYTES));
    return position <= this.last && this.last - position <= this.capacity ? position : undefined;
  }

  /** How many changes are behind a position. */
  countAfter(position: number): number {
    return this.last - position;
  }

  /** What changed after a position that `positionOf` answered, the earliest first. */
  *after(position: number): Generator<Change, void> {
    for (let index = position; index < this.last; index++) {
      const change = this.changes[index % this.capacity];
      if (change !== undefined) yield change;
    }
  }

  private advance(change: Change | undefined): void {
    this.changes[this.last % this.capacity] = change;
    this.last++;
    this.isNamed = false;
  }
}
