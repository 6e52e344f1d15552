import { performance } from 'node:perf_hooks';
import type { Call } from '../../redis/call.js';
import type { BoundScript } from '../../redis/lua-script.js';

/** A master that can be asked. */
export interface Respondent<Reply> {
  run(bound: BoundScript<Reply>, call: Call): Promise<Reply>;
}

/** What all masters said up to the moment when the outcome was certain. */
export interface Poll<Reply> {
  readonly replies: readonly Reply[];
  /** How many are not known: silent, failed or not asked. */
  readonly unknownCount: number;
  readonly errors: readonly unknown[];
}

export interface PollOptions<Reply> {
  readonly call: Call;
  /** How long silent masters are waited for; the call's deadline ends it, too. */
  readonly timeoutMs: number;
  /** Whether what is known is enough. */
  readonly isCertain: (poll: Poll<Reply>) => boolean;
}

/** Asks all masters the same, and waits until the outcome is certain, all have answered, or the time is over. */
export function poll<Reply>(
  masters: readonly Respondent<NoInfer<Reply>>[],
  bound: BoundScript<Reply>,
  { call, timeoutMs, isCertain }: PollOptions<Reply>,
): Promise<Poll<Reply>> {
  return new Promise((resolve) => {
    const replies: Reply[] = [];
    const errors: unknown[] = [];
    const state = (): Poll<Reply> => ({ replies, unknownCount: masters.length - replies.length, errors });
    const end = (): void => {
      clearTimeout(timer);
      resolve({ replies: [...replies], unknownCount: masters.length - replies.length, errors: [...errors] });
    };
    const look = (): void => {
      if (replies.length + errors.length === masters.length || isCertain(state())) end();
    };
    const leftMs = Math.max(0, Math.min(timeoutMs, call.deadlineAt - performance.now()));
    const timer = setTimeout(end, leftMs);
    for (const master of masters) {
      master.run(bound, call).then(
        (reply) => {
          replies.push(reply);
          look();
        },
        (error: unknown) => {
          errors.push(error);
          look();
        },
      );
    }
  });
}
