import { performance } from 'node:perf_hooks';
import { calendarWindow } from './calendar.js';
import { capacityOf, type LimitTerms } from './terms.js';

/** Units that were admitted until a time, and when they count no more, on the clock of `performance.now()`. */
interface Units {
  count: number;
  readonly endsMs: number;
}

/** How a limit stands here. */
export interface LocalState {
  readonly share: number;
  readonly used: number;
  /** Until so many units fit that were asked for; a window where so many never do. */
  readonly retryAfterMs: number;
  /** Until nothing is in use. */
  readonly resetAfterMs: number;
}

interface Log {
  used: number;
  readonly units: Units[];
}

/** Above that the units of a 60th of the window are one entry, which counts until the last of them would. */
const MAX_SINGLE_UNITS = 60;
const PARTS_IN_WINDOW = 60;
/** What a product such as 0.57 · 100 is short of. */
const ROUNDING = 1e-6;
const MAX_LOGS = 50_000;
const SWEEP_PAUSE_MS = 1_000;
/** When to ask again where there is no place for another subject. */
const FULL_RETRY_MS = 1_000;

/**
 * A share of limits, kept by this process alone: of each subject never more than the share is admitted in any window.
 * For a token bucket, that of the smaller of its two numbers.
 */
export class LocalLimits {
  private readonly logs = new Map<string, Log>();
  private sweptAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly maxLogs = MAX_LOGS,
    private readonly clock: () => number = () => performance.now(),
  ) {}

  /** Subjects and policies that something is kept of. */
  get size(): number {
    return this.logs.size;
  }

  /** How a limit stands for so many units; where there is no place to count them it has no share. */
  look(namespace: string, terms: LimitTerms, fraction: number, units: number): LocalState {
    const nowMs = this.clock();
    const share = shareOfLimit(terms, fraction);
    const key = keyOf(namespace, terms);
    const log = this.logs.get(key);
    if (log === undefined) {
      if (this.logs.size < this.maxLogs || this.sweep(nowMs)) {
        return { share, used: 0, retryAfterMs: units > share ? windowOf(terms) : 0, resetAfterMs: 0 };
      }
      return { share: 0, used: 0, retryAfterMs: FULL_RETRY_MS, resetAfterMs: 0 };
    }
    forgetEnded(log, nowMs);
    const resetAfterMs = (log.units.at(-1)?.endsMs ?? nowMs) - nowMs;
    return { share, used: log.used, retryAfterMs: waitFor(log, share - units, nowMs, terms), resetAfterMs };
  }

  /** Charges units that fit; answers how long until nothing is in use, in ms. */
  charge(namespace: string, terms: LimitTerms, units: number): number {
    const nowMs = this.clock();
    const key = keyOf(namespace, terms);
    let log = this.logs.get(key);
    if (log === undefined) {
      log = { used: 0, units: [] };
      this.logs.set(key, log);
    }
    const windowMs = windowOf(terms);
    const partMs = windowMs / PARTS_IN_WINDOW;
    const last = log.units.at(-1);
    const isLong = log.units.length >= MAX_SINGLE_UNITS;
    const endsMs = (isLong ? (Math.floor(nowMs / partMs) + 1) * partMs : nowMs) + windowMs;
    log.used += units;
    if (last !== undefined && last.endsMs >= endsMs) last.count += units;
    else log.units.push({ count: units, endsMs });
    return endsMs - nowMs;
  }

  /** Whether that made room. Looks at all, so not for each call. */
  private sweep(nowMs: number): boolean {
    if (nowMs - this.sweptAtMs < SWEEP_PAUSE_MS) return false;
    this.sweptAtMs = nowMs;
    for (const [key, log] of this.logs) {
      const last = log.units.at(-1);
      if (last === undefined || last.endsMs <= nowMs) this.logs.delete(key);
    }
    return this.logs.size < this.maxLogs;
  }
}

function forgetEnded(log: Log, nowMs: number): void {
  let ended = 0;
  for (const { count, endsMs } of log.units) {
    if (endsMs > nowMs) break;
    log.used -= count;
    ended++;
  }
  if (ended > 0) log.units.splice(0, ended);
}

/** Until no more than `most` units are in use. */
function waitFor(log: Log, most: number, nowMs: number, terms: LimitTerms): number {
  if (most < 0) return windowOf(terms);
  let left = log.used;
  let waitMs = 0;
  for (const { count, endsMs } of log.units) {
    if (left <= most) break;
    left -= count;
    waitMs = Math.ceil(endsMs - nowMs);
  }
  return waitMs;
}

function shareOfLimit(terms: LimitTerms, fraction: number): number {
  return Math.max(0, Math.floor(fraction * Math.min(terms.limit, capacityOf(terms)) + ROUNDING));
}

/** The window of a calendar is one of about now: it slides here. */
function windowOf({ policy: { calendar, windowMs } }: LimitTerms): number {
  if (calendar === undefined) return windowMs;
  const { fromMs, untilMs } = calendarWindow(calendar.unit, calendar.timeZone, Date.now());
  return untilMs - fromMs;
}

function keyOf(namespace: string, { countedAs, policy }: LimitTerms): string {
  return `${namespace} ${policy.storedName} ${countedAs}`;
}
