import { types } from 'node:util';
import { status as Code } from '@grpc/grpc-js';
import { stdSerializers, type Logger } from 'pino';
import { LogLimit } from '../log-limit.js';
import type { FailureReason, RpcStatus } from './status.js';

// instanceof would miss the errors of another realm, as a test runner's
const { isNativeError } = types;

/** Of one RPC and reason. */
const MAX_LINES_A_SECOND = 5;
/** A text longer than this is cut: a caller may have written it. */
const MAX_MESSAGE_LENGTH = 256;
const MAX_CAUSE_LENGTH = 4_096;

/** What the service, or what is behind it, could not do; everything else is the caller's doing, or was expected. */
const WARNINGS: ReadonlySet<Code> = new Set([Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE]);

/** Of these, what is as it should be. */
const EXPECTED: ReadonlySet<FailureReason> = new Set(['DRAINING', 'RATE_LIMITED']);

/**
 * Logs calls that failed, at the level of their status: what nobody foresaw is an error with its cause, what the service
 * could not do a warning, what the caller did wrong is told at `debug` only. Of each RPC and reason a few a second, and the
 * count of the others: who makes calls fail shall not fill a disk with it.
 */
export class FailureLog {
  private readonly limits = new Map<string, Map<string, LogLimit>>();
  private readonly tellsDebug: boolean;

  constructor(private readonly logger: Logger) {
    this.tellsDebug = logger.isLevelEnabled('debug');
  }

  record(rpc: string, { code, reason, message, hiddenCause }: RpcStatus): void {
    const isError = hiddenCause !== undefined;
    const isWarning = WARNINGS.has(code) && !EXPECTED.has(reason);
    if (!isError && !isWarning) {
      if (this.tellsDebug) {
        this.logger.debug(
          { rpc, code: Code[code], reason, detail: capped(message, MAX_MESSAGE_LENGTH) },
          'rpc refused',
        );
      }
      return;
    }
    if (!this.limitOf(rpc, reason).admits()) return;
    if (isError) this.logger.error({ rpc, code: Code[code], err: describe(hiddenCause) }, 'rpc failed');
    // not the message: it may name what the caller asked for
    else this.logger.warn({ rpc, code: Code[code], reason }, 'rpc not served');
  }

  private limitOf(rpc: string, reason: string): LogLimit {
    const limits = this.limits.get(rpc) ?? new Map<string, LogLimit>();
    this.limits.set(rpc, limits);
    const known = limits.get(reason);
    if (known !== undefined) return known;
    const limit = new LogLimit(MAX_LINES_A_SECOND, (suppressed) => {
      this.logger.warn({ rpc, reason, suppressed }, 'more rpcs failed');
    });
    limits.set(reason, limit);
    return limit;
  }
}

function describe(cause: unknown): unknown {
  if (!isNativeError(cause)) return capped(String(cause), MAX_MESSAGE_LENGTH);
  const { type, message, stack } = stdSerializers.err(cause);
  return { type, message: capped(message, MAX_CAUSE_LENGTH), stack: capped(stack, MAX_CAUSE_LENGTH) };
}

function capped(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length)}…`;
}
