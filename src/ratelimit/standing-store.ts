import type { Call } from '../redis/call.js';
import { keys, standingScanPattern, standingSubjectOf } from '../redis/keys.js';
import { listPage, type Page, type PageRequest } from '../redis/paged-list.js';
import type { Redis } from '../redis/redis.js';
import { channelOf, recordOf } from './limit-scripts.js';
import {
  banScript,
  listBansScript,
  overrideRateLimitScript,
  resetRateLimitScript,
  unbanScript,
  type BanReply,
} from './scripts.js';
import type { LimitTerms } from './terms.js';

/** A subject with its bans, at least one. */
export interface BannedSubject {
  readonly subject: string;
  readonly bans: readonly BanReply[];
}

/** What people decide about a subject: other limits, bans, and that what was charged is forgotten. */
export class StandingStore {
  constructor(
    private readonly redis: Redis,
    /** Told of a subject's standing before whoever made room for it is answered. */
    private readonly onRoomMade: (standing: string) => void = () => undefined,
  ) {}

  /** Answers for each limit whether something had been charged to it, or came of its denials. */
  resetRateLimit(limits: readonly LimitTerms[], call: Call): Promise<boolean[]> {
    return Promise.all(
      limits.map((terms) => {
        const standing = keys.standing(call.namespace, terms.countedAs);
        const bound = resetRateLimitScript.bind(
          { standing, record: recordOf(terms, call) },
          { policy: terms.policy.storedName, channel: this.channelOf(standing, call) },
        );
        return this.make(standing, this.redis.run(bound, call));
      }),
    );
  }

  /** Until when, Unix ms; 0 where `limit` is 0. */
  overrideRateLimit(terms: LimitTerms, limit: number, ttlMs: number, call: Call): Promise<number> {
    const standing = keys.standing(call.namespace, terms.countedAs);
    const bound = overrideRateLimitScript.bind(
      { standing },
      {
        policy: terms.policy.storedName,
        limit: String(limit),
        ttlMs: String(ttlMs),
        channel: this.channelOf(standing, call),
      },
    );
    return this.make(standing, this.redis.run(bound, call));
  }

  /** `policy` '': under all. Answers until when, Unix ms. */
  ban(
    countedAs: string,
    policy: string,
    { ttlMs, reason }: { readonly ttlMs: number; readonly reason: string },
    call: Call,
  ): Promise<number> {
    const standing = keys.standing(call.namespace, countedAs);
    return this.redis.run(banScript.bind({ standing }, { policy, ttlMs: String(ttlMs), reason }), call);
  }

  /** Whether there was a ban. */
  unban(countedAs: string, policy: string, call: Call): Promise<boolean> {
    const standing = keys.standing(call.namespace, countedAs);
    const bound = unbanScript.bind({ standing }, { policy, channel: this.channelOf(standing, call) });
    return this.make(standing, this.redis.run(bound, call));
  }

  /** Also where the outcome got lost: it may have made room. */
  private make<Reply>(standing: string, reply: Promise<Reply>): Promise<Reply> {
    return reply.finally(() => {
      this.onRoomMade(standing);
    });
  }

  /** Subjects that begin so, as they are counted, and are banned; a bounded part of the way. */
  listBans(prefix: string, page: PageRequest, call: Call): Promise<Page<BannedSubject>> {
    const { namespace } = call;
    return listPage(
      {
        prefix,
        scan: this.redis.pagedScan(standingScanPattern(namespace, prefix)),
        nameOf: (redisKey) => standingSubjectOf(namespace, redisKey),
        read: async (subject) => {
          const bans = await this.redis.run(
            listBansScript.bind({ standing: keys.standing(namespace, subject) }, {}),
            call,
          );
          return bans.length === 0 ? undefined : { subject, bans };
        },
      },
      page,
      call,
    );
  }

  /** Where every process is told of a subject that may be admitted again. */
  private channelOf(standing: string, { namespace }: Call): string {
    return channelOf(this.redis.topology, namespace, standing);
  }
}
