import type { Logger } from 'pino';
import type { Call } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import type { Redis } from '../redis/redis.js';
import { announceChangeScript } from './scripts.js';
import { partitionOf } from './token.js';

/**
 * Tells watchers of changes. A script that changes a session takes one key, so that it works also while a slot moves; the
 * event lies at another key, so a script of its own writes it. The session counts the changes that no event has told: what
 * is not told now, because the service died or Redis refused, is told with the next change.
 */
export class ChangeAnnouncer {
  constructor(
    private readonly redis: Redis,
    private readonly logger: Logger,
  ) {}

  /**
   * Tells of the change that was sent to Redis in this turn of the event loop: both leave in one write, and nobody waits
   * for the second. `landed` answers whether the session was changed. `contended`: probably not, and so nothing is told
   * before it is known.
   */
  follow(
    landed: Promise<boolean>,
    sessionId: string,
    { namespace, deadlineAt }: Call,
    { contended = false }: { readonly contended?: boolean } = {},
  ): void {
    // the call is over when the change is answered; a slot that moves may take longer
    const call: Call = { namespace, deadlineAt, ended: false };
    const first = contended ? Promise.resolve('nothing' as const) : this.announce(sessionId, call);
    this.finish(landed, first, sessionId, call).catch((error: unknown) => {
      this.logger.debug({ sessionId, err: error }, 'change not told yet');
    });
  }

  private async finish(
    landed: Promise<boolean>,
    announced: Promise<'told' | 'nothing' | 'gone'>,
    sessionId: string,
    call: Call,
  ): Promise<void> {
    const [change, first] = await Promise.allSettled([landed, announced]);
    const changed = change.status === 'fulfilled' && change.value;
    if (!changed) return;
    if (first.status === 'rejected') throw first.reason;
    // where the change was redirected or its text sent after it, this came first
    if (first.value === 'nothing') await this.announce(sessionId, call);
  }

  private announce(sessionId: string, call: Call): Promise<'told' | 'nothing' | 'gone'> {
    const partition = partitionOf(sessionId);
    const { counters, events } = keys.sessions(call.namespace, partition);
    const session = keys.session(call.namespace, partition, sessionId);
    return this.redis.run(announceChangeScript.bind({ session, counters, events }, { sessionId }), call);
  }
}
