import { UnexpectedReplyError } from './lua-script.js';

/**
 * Reads the flat array a script answers, `{status, field, …}`, one field after the other. Every reader throws
 * UnexpectedReplyError on another shape than asked for.
 */
export class ReplyReader {
  private position = 0;
  private readonly fields: readonly unknown[];

  constructor(reply: unknown) {
    if (!Array.isArray(reply)) throw new UnexpectedReplyError(`no array but ${typeof reply}`);
    this.fields = reply;
  }

  /** Bulk string as bytes. */
  bytes(): Buffer {
    const field = this.fields[this.position++];
    if (!Buffer.isBuffer(field)) throw new UnexpectedReplyError(`field ${String(this.position - 1)} is no bulk string`);
    return field;
  }

  /** Bulk string as UTF-8. */
  text(): string {
    return this.bytes().toString('utf8');
  }

  /** A whole number up to 2^53, from an integer reply or its decimal digits. */
  number(): number {
    const field = this.fields[this.position++];
    const value = Buffer.isBuffer(field) ? decimal(field) : field;
    if (typeof value !== 'number' || !Number.isSafeInteger(value)) {
      throw new UnexpectedReplyError(`field ${String(this.position - 1)} is no whole number`);
    }
    return value;
  }

  /** A 64-bit number from its decimal digits. */
  bigint(): bigint {
    const digits = this.text();
    if (!/^-?\d{1,20}$/.test(digits)) {
      throw new UnexpectedReplyError(`field ${String(this.position - 1)} is no 64-bit number`);
    }
    return BigInt(digits);
  }

  boolean(): boolean {
    return this.number() === 1;
  }

  /** How many fields are left. */
  get remaining(): number {
    return this.fields.length - this.position;
  }

  /** Throws unless every field was read. */
  end(): void {
    if (this.remaining !== 0) throw new UnexpectedReplyError(`${String(this.remaining)} fields too many`);
  }
}

function decimal(digits: Buffer): number {
  const text = digits.toString('latin1');
  return /^-?\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
}
