import { performance } from 'node:perf_hooks';
import { inspect } from 'node:util';
import { SILENT, type Logger } from './logger.js';

/** An outage comes with thousands of lines a minute. */
const QUIET_MS = 60_000;

interface Said {
  readonly at: number;
  leftOut: number;
}

/**
 * Says warnings and errors as warnings of the process, of the type `ShardkeepWarning`: without any logger a write that is lost
 * is seen. Of equal messages the first in a minute, with how many were left out before it.
 */
export class WarningLogger implements Logger {
  private readonly said = new Map<string, Said>();

  debug(): void {
    // for who looks for it, with a logger
  }

  warn(details: object, message: string): void {
    this.say(details, message);
  }

  error(details: object, message: string): void {
    this.say(details, message);
  }

  private say(details: object, message: string): void {
    const now = performance.now();
    const last = this.said.get(message);
    // what was left out on the way to here
    const unsaid = 'suppressed' in details && typeof details.suppressed === 'number' ? details.suppressed : 0;
    if (last !== undefined && now - last.at < QUIET_MS) {
      last.leftOut += 1 + unsaid;
      return;
    }
    this.said.set(message, { at: now, leftOut: 0 });
    const leftOut = (last?.leftOut ?? 0) + unsaid;
    const before = leftOut === 0 ? '' : ` (and ${String(leftOut)} times before)`;
    process.emitWarning(`${message}${before}`, { type: 'ShardkeepWarning', detail: textOf(details) });
  }
}

/**
 * Where what goes wrong is said that is said to a `logger`, which may be absent or false. What lets everybody in, or nobody, is
 * not silent unless somebody says so.
 */
export function loggerOf<Given extends Partial<Logger>>(given: Given | false | undefined): Given | Logger {
  return given === false ? SILENT : (given ?? new WarningLogger());
}

/** Without stacks: that of an error of a call tells nothing of its caller. */
function textOf(details: object): string {
  return Object.entries(details)
    .filter(([name]) => name !== 'suppressed')
    .map(([name, value]: [string, unknown]) => `${name}: ${value instanceof Error ? value.message : inspect(value)}`)
    .join(', ');
}
