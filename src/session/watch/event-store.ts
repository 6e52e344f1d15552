import { performance } from 'node:perf_hooks';
import type { Call } from '../../redis/call.js';
import { keys } from '../../redis/keys.js';
import { UnexpectedReplyError } from '../../redis/lua-script.js';
import type { Redis } from '../../redis/redis.js';
import { readEventsScript, type ReadEventsReply } from '../watch-scripts.js';
import type { Position } from './position.js';

/** Of at most 800 bytes each. */
const MAX_EVENTS_A_PAGE = 256;
const READ_MS = 2_000;

/** The events of session partitions on the `state` Redis. Throws domain errors. */
export class SessionEventStore {
  constructor(private readonly redis: Pick<Redis, 'run' | 'read'>) {}

  /** What is behind a position, a page of it; where the events are now when there is none. */
  readEvents(namespace: string, partition: number, position: Position | undefined): Promise<ReadEventsReply> {
    const { events } = keys.sessions(namespace, partition);
    const bound = readEventsScript.bind(
      { events },
      {
        afterId: position?.id ?? '',
        seen: String(position?.seen ?? 0),
        maxEvents: String(MAX_EVENTS_A_PAGE),
      },
    );
    return this.redis.run(bound, readingFor(namespace));
  }

  /** How many sessions were ever created in a partition. */
  async readCreatedCount(namespace: string, partition: number): Promise<number> {
    const { counters } = keys.sessions(namespace, partition);
    const reply = await this.redis.read(counters, ['HGET', counters, 'created'], readingFor(namespace));
    const count = Number(reply === null ? 0 : Buffer.isBuffer(reply) ? reply.toString() : Number.NaN);
    if (!Number.isSafeInteger(count)) throw new UnexpectedReplyError('the counter of sessions is no number');
    return count;
  }
}

function readingFor(namespace: string): Call {
  return { namespace, deadlineAt: performance.now() + READ_MS, ended: false };
}
