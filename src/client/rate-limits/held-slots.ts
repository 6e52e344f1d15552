import { status as Code } from '@grpc/grpc-js';
import type { HoldConcurrencyResponse } from '../../gen/shardkeep/ratelimit/v1/ratelimit.js';
import { invalidArgument, shardkeepError } from '../errors.js';
import { failNextTurn } from '../event-loop.js';
import type { MessageStream } from '../rpc/message-stream.js';
import { throwIfNoTimeout } from '../transport/timeout.js';
import { toDecision, type RateLimitDecision } from './decision.js';
import type { HoldConcurrencyOptions } from './options.js';

/** Slots that are held until they are released, lost, or this process ends. */
export interface HeldSlots {
  readonly status: 'held';
  readonly decision: RateLimitDecision;
  /**
   * Aborts when the slots are no longer held other than by `release`: others may have them, so stop what they are for. Its
   * reason is a ShardkeepError: AbortedError (`SLOTS_LOST`) where the service lost them, UnavailableError where the
   * connection broke or the service drains, CancelledError where the caller's signal or `close` of the client ended it.
   */
  readonly signal: AbortSignal;
  /** Gives the slots back; they are free as soon as the service has heard of it. A second time does nothing. */
  release(): void;
}

export interface DeniedSlots {
  readonly status: 'denied';
  readonly decision: RateLimitDecision;
}

/** setTimeout fires at once for more. */
const MAX_TIMER_MS = 0x7fffffff;

const MAX_UINT32 = 0xffffffff;

/** Throws InvalidArgumentError for what a stream cannot be opened with. The range is for the service to judge. */
export function throwIfNotHoldable({ cost, timeoutMs }: Pick<HoldConcurrencyOptions, 'cost' | 'timeoutMs'>): void {
  throwIfNoTimeout(timeoutMs);
  if (cost !== undefined && !(Number.isSafeInteger(cost) && cost >= 0 && cost <= MAX_UINT32))
    throw invalidArgument('cost must be a whole number, 1 to 64', ['cost']);
}

/** Opens a HoldConcurrency stream and waits for its decision; gives the stream up when it is late. */
export async function slotsOf(
  open: () => MessageStream<HoldConcurrencyResponse>,
  timeoutMs: number,
  /** Told of slots that are lost. */
  onLost: (reason: unknown) => void,
): Promise<HeldSlots | DeniedSlots> {
  let stream: MessageStream<HoldConcurrencyResponse>;
  try {
    stream = open();
  } catch (error) {
    return failNextTurn(error as Error);
  }
  const decision = await decisionOf(stream, timeoutMs);
  if (!decision.allowed) {
    stream.cancel();
    return { status: 'denied', decision };
  }
  const loss = new AbortController();
  let isReleased = false;
  void endOf(stream).then((reason) => {
    if (isReleased) return;
    onLost(reason);
    loss.abort(reason);
  });
  return {
    status: 'held',
    decision,
    signal: loss.signal,
    release: () => {
      isReleased = true;
      stream.cancel();
    },
  };
}

async function decisionOf(
  stream: MessageStream<HoldConcurrencyResponse>,
  timeoutMs: number,
): Promise<RateLimitDecision> {
  const wait = { isLate: false };
  const timer = setTimeout(
    () => {
      wait.isLate = true;
      stream.cancel();
    },
    Math.min(timeoutMs, MAX_TIMER_MS),
  );
  try {
    const { value } = await stream.next();
    return toDecision(value?.decision);
  } catch (error) {
    throw wait.isLate ? shardkeepError(Code.DEADLINE_EXCEEDED, 'no decision in time') : error;
  } finally {
    clearTimeout(timer);
  }
}

/** Why the stream ended. */
async function endOf(stream: MessageStream<HoldConcurrencyResponse>): Promise<unknown> {
  try {
    while ((await stream.next()).done !== true);
    return shardkeepError(Code.ABORTED, 'the service ended the stream');
  } catch (error) {
    return error;
  }
}
