import { status as Code } from '@grpc/grpc-js';
import type { HoldLocksFailed, HoldLocksRequest, HoldLocksResponse } from '../../gen/shardkeep/lock/v1/lock.js';
import { shardkeepError, toCode, type ShardkeepError } from '../errors.js';

export type Action = NonNullable<HoldLocksRequest['action']>;
export type Answer = Exclude<NonNullable<HoldLocksResponse['event']>, { $case: 'lost' }>;

/** A request without an answer. */
export interface Asked {
  /** Called in the turn in which the answer came. */
  readonly answered: (answer: Answer) => void;
  /** There will be no answer. */
  readonly failed: (error: Error) => void;
}

/** The service ends a stream with more than 1,024. */
const MAX_IN_FLIGHT = 1_000;

/** The requests of a HoldLocks stream: which answer belongs to whom, and never more under way than the service takes. */
export class StreamRequests {
  private lastId = 0n;
  private readonly asked = new Map<bigint, Asked>();
  /** Too many are under way for these. */
  private readonly unsent: HoldLocksRequest[] = [];

  constructor(
    private readonly send: (request: HoldLocksRequest) => void,
    /** How long to wait for an answer to what does not wait for others. */
    private readonly timeoutMs: number,
  ) {}

  get size(): number {
    return this.asked.size;
  }

  /** Answers the id of the request. */
  ask(action: Action, asked: Asked): bigint {
    const id = ++this.lastId;
    this.asked.set(id, asked);
    this.unsent.push({ id, action });
    try {
      this.sendUnsent();
    } catch (error) {
      this.asked.delete(id);
      throw error;
    }
    return id;
  }

  /** Asks what waits for nobody. Rejects with the error of the answer, or where none comes in time. */
  answerTo(action: Action): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(shardkeepError(Code.DEADLINE_EXCEEDED, 'no answer in time'));
      }, this.timeoutMs);
      this.ask(action, {
        answered: (answer) => {
          clearTimeout(timer);
          if (answer.$case === 'failed') reject(errorOf(answer.value));
          else resolve(answer);
        },
        failed: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
    });
  }

  /** Gives an acquire up. It is answered yet, unless it was not sent. */
  cancel(id: bigint): void {
    const index = this.unsent.findIndex((request) => request.id === id);
    if (index < 0) {
      this.send({ id, action: { $case: 'cancel', value: {} } });
      return;
    }
    this.unsent.splice(index, 1);
    this.fail(id, shardkeepError(Code.CANCELLED, 'cancelled; it was not sent'));
  }

  /** An answer has come. */
  take(id: bigint, answer: Answer): void {
    const asked = this.asked.get(id);
    if (asked === undefined) return;
    this.asked.delete(id);
    asked.answered(answer);
    this.sendUnsent();
  }

  failAll(error: Error): void {
    this.unsent.length = 0;
    for (const id of [...this.asked.keys()]) this.fail(id, error);
  }

  private fail(id: bigint, error: Error): void {
    const asked = this.asked.get(id);
    this.asked.delete(id);
    asked?.failed(error);
  }

  private sendUnsent(): void {
    while (this.asked.size - this.unsent.length < MAX_IN_FLIGHT) {
      const request = this.unsent.shift();
      if (request === undefined) return;
      this.send(request);
    }
  }
}

export function errorOf({ code, reason, retryAfterMs }: HoldLocksFailed): ShardkeepError {
  return shardkeepError(toCode(code), reason === '' ? 'the service refused' : reason, {
    reason,
    retryAfterMs: retryAfterMs === 0n ? undefined : Number(retryAfterMs),
  });
}

/** The service, which is newer than this client, said something that the client has no word for. */
export function foreignAnswer(): ShardkeepError {
  return shardkeepError(Code.UNKNOWN, 'the service answered on a stream of locks what this client does not know');
}
