import { Code, ShardkeepError, UnavailableError, type ShardkeepClient } from '../../../src/client/index.js';
import { nowMs, type CallRecord, type HistoryFile } from '../history.js';

/** A client of one service, and how its calls are ended. */
export interface Caller {
  readonly service: number;
  readonly client: ShardkeepClient;
  readonly timeoutMs: number;
  readonly endedBy: CallRecord['endedBy'];
}

/** What a record says of a call beside its times and its code. */
export type Details = Partial<Pick<CallRecord, 'key' | 'n' | 'token' | 'request' | 'status' | 'redisMs'>>;

/** Answers that the SDK throws. */
const ANSWERS: ReadonlyMap<Code, string> = new Map([
  [Code.NOT_FOUND, 'missing'],
  [Code.FAILED_PRECONDITION, 'refused'],
  [Code.ABORTED, 'aborted'],
]);
/** Codes that say that nothing was done. */
const NOT_DONE = new Set([
  Code.INVALID_ARGUMENT,
  Code.RESOURCE_EXHAUSTED,
  Code.UNAUTHENTICATED,
  Code.PERMISSION_DENIED,
]);

/** Writes down every call, however it ends. */
export class Recorder {
  calls = 0;

  constructor(readonly file: HistoryFile) {}

  /** Performs a call; undefined where it failed, or was answered by an error. */
  async call<Answer>(
    caller: Caller,
    op: string,
    { details, perform, read, waitMs = 0 }: RecordedCall<Answer>,
  ): Promise<RecordedAnswer<Answer>> {
    const { service, client, timeoutMs, endedBy } = caller;
    const startMs = nowMs();
    const common = { kind: 'call', op, service, startMs, timeoutMs: timeoutMs + waitMs, endedBy } as const;
    let answer: Answer | undefined;
    let outcome: Pick<CallRecord, 'code' | 'unknown'> & Details;
    try {
      answer = await perform(client);
      outcome = { code: 'OK', unknown: false, ...read(answer) };
    } catch (error) {
      outcome = outcomeOf(error);
    }
    const record = { ...common, endMs: nowMs(), ...details, ...outcome };
    this.calls++;
    this.file.add(record);
    return { answer, record };
  }
}

export interface RecordedAnswer<Answer> {
  readonly answer: Answer | undefined;
  readonly record: CallRecord;
}

export interface RecordedCall<Answer> {
  readonly details: Details;
  readonly perform: (client: ShardkeepClient) => Promise<Answer>;
  readonly read: (answer: Answer) => Details;
  /** How long the call may wait at the service, beside its timeout. */
  readonly waitMs?: number;
}

function outcomeOf(error: unknown): Pick<CallRecord, 'code' | 'unknown'> & Details {
  if (!(error instanceof ShardkeepError)) throw error;
  const answer = ANSWERS.get(error.code);
  if (answer !== undefined) return { code: 'OK', unknown: false, status: answer };
  const unknown = error instanceof UnavailableError ? error.outcomeUnknown : !NOT_DONE.has(error.code);
  return { code: Code[error.code], unknown };
}
