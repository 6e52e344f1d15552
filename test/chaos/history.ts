import { appendFileSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

/**
 * What a row of the fault matrix wrote down, as JSON lines: every call of the load, what was done to the system, and what was
 * found at the end. All times are milliseconds of one machine's `performance` clocks, comparable between its processes.
 */

const callRecord = z.object({
  kind: z.literal('call'),
  /** `session.create`, `limit.check`, …; see load/. */
  op: z.string(),
  /** Which service was asked, by its number. */
  service: z.number(),
  startMs: z.number(),
  endMs: z.number(),
  /** How long it may have taken. */
  timeoutMs: z.number(),
  /** Whose clock is to end it: `service` for calls that were sent without a deadline. */
  endedBy: z.enum(['client', 'service']),
  /** A gRPC status by name. What is an answer (NOT_FOUND of a read) counts as OK and has a `status`. */
  code: z.string(),
  /** It failed, and may have been done all the same. */
  unknown: z.boolean(),
  /** What the call is about: a session, a resource, a subject, a key of the cache. */
  key: z.string().optional(),
  /** The number that was written or read. */
  n: z.number().optional(),
  /** A fencing token. */
  token: z.number().optional(),
  /** The request id; calls with the same one are the same call. */
  request: z.string().optional(),
  /** How it was answered, such as `found` or `missing`. */
  status: z.string().optional(),
  /** When Redis decided, by its own clock. */
  redisMs: z.number().optional(),
});

/** A holder believed in its lock from `startMs` to `endMs`. */
const heldRecord = z.object({
  kind: z.literal('held'),
  key: z.string(),
  token: z.number(),
  startMs: z.number(),
  endMs: z.number(),
});

/** A holder wrote to a store that knows fencing tokens; in the order of the store. */
const storeRecord = z.object({
  kind: z.literal('store'),
  key: z.string(),
  token: z.number(),
  holder: z.string(),
  accepted: z.boolean(),
  atMs: z.number(),
});

/** Something was done to the system, or undone. */
const faultRecord = z.object({
  kind: z.literal('fault'),
  phase: z.enum(['begin', 'end']),
  what: z.string(),
  atMs: z.number(),
});

/** A process wanted to run and stood still: its event loop, or the machine gave it no processor. */
const stallRecord = z.object({
  kind: z.literal('stall'),
  who: z.enum(['client', 'service']),
  /** Which service. */
  service: z.number().optional(),
  fromMs: z.number(),
  atMs: z.number(),
  ms: z.number(),
});

const memoryRecord = z.object({ kind: z.literal('memory'), service: z.number(), rssMb: z.number(), atMs: z.number() });

/** Indexes and records of sessions held against each other when all was quiet. */
const booksRecord = z.object({ kind: z.literal('books'), sessions: z.number(), problems: z.array(z.string()) });

/** What only this row promises. */
const claimRecord = z.object({ kind: z.literal('claim'), what: z.string(), holds: z.boolean() });

/** A figure of this row for the table. */
const figureRecord = z.object({ kind: z.literal('figure'), what: z.string(), value: z.string() });

const historyRecord = z.discriminatedUnion('kind', [
  callRecord,
  heldRecord,
  storeRecord,
  faultRecord,
  stallRecord,
  memoryRecord,
  booksRecord,
  claimRecord,
  figureRecord,
]);

export type CallRecord = z.output<typeof callRecord>;
export type HeldRecord = z.output<typeof heldRecord>;
export type StallRecord = z.output<typeof stallRecord>;
export type StoreRecord = z.output<typeof storeRecord>;
export type HistoryRecord = z.output<typeof historyRecord>;
type OfKind<Kind extends HistoryRecord['kind']> = Extract<HistoryRecord, { kind: Kind }>;

export const expectationsSchema = z.object({
  /**
   * Which acknowledged writes may be gone: none, those that were acknowledged at most so long before a fault began, or any
   * (a Redis that keeps nothing).
   */
  mayLose: z.union([z.literal('nothing'), z.literal('anything'), z.number()]),
  /** For how long from the beginning of a fault what is acknowledged may be gone like what was before it. */
  mayLoseForMs: z.number(),
  /** The number of a service that is cut off with an old master, and may read what was there when it was. */
  mayBeStale: z.number().optional(),
  /** Whether two may believe in the same lock at once; never with what Redis lost nothing of. */
  holdersMayOverlap: z.boolean(),
  /** How often a window of a limit may begin anew, each time with its whole limit. */
  limitResets: z.number(),
  /** Until at least 99.9 % of the calls succeed, from the end of the fault. */
  recoveryMs: z.number(),
  /** Statuses with which calls may fail. */
  mayFailWith: z.array(z.string()),
  /** Operations that go on as if nothing was wrong. */
  unaffected: z.array(z.string()),
  /** Whether indexes and records may disagree at the end: where Redis throws away what it was to keep. */
  booksMayDiffer: z.boolean(),
  /** How much a process of the service may weigh at most. */
  maxRssMb: z.number(),
});
export type Expectations = z.output<typeof expectationsSchema>;

const rowFile = z.object({ id: z.string(), what: z.string(), seed: z.number(), expect: expectationsSchema });
export type RowFile = z.output<typeof rowFile>;

/** Of a run of one row, in the order of each process that wrote. */
export class History {
  constructor(
    readonly row: RowFile,
    readonly records: readonly HistoryRecord[],
  ) {}

  of<Kind extends HistoryRecord['kind']>(kind: Kind): OfKind<Kind>[] {
    return this.records.filter((record): record is OfKind<Kind> => record.kind === kind);
  }

  /** The calls of some operations, by when they began. */
  calls(...ops: readonly string[]): CallRecord[] {
    const wanted = new Set(ops);
    const calls = this.of('call').filter(({ op }) => ops.length === 0 || wanted.has(op));
    return calls.sort((one, other) => one.startMs - other.startMs);
  }
}

/** Writes records to a file of a history. */
export class HistoryFile {
  private readonly lines: string[] = [];

  constructor(private readonly path: string) {}

  add(record: HistoryRecord): void {
    this.lines.push(JSON.stringify(record));
    if (this.lines.length >= LINES_AT_ONCE) this.flush();
  }

  flush(): void {
    if (this.lines.length > 0) appendFileSync(this.path, `${this.lines.splice(0).join('\n')}\n`);
  }
}

const LINES_AT_ONCE = 500;
export const ROW_FILE = 'row.json';

/** Reads a folder that a row left. */
export function readHistory(folder: string): History {
  const row = rowFile.parse(JSON.parse(readFileSync(join(folder, ROW_FILE), 'utf8')));
  const files = readdirSync(folder).filter((name) => name.endsWith('.jsonl'));
  const lines = files.flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n'));
  const records = lines.filter((line) => line !== '').map((line) => historyRecord.parse(JSON.parse(line)));
  return new History(row, records);
}

export function isHistory(folder: string): boolean {
  return existsSync(join(folder, ROW_FILE));
}

/** Now, on the clock of all histories of this machine. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}
