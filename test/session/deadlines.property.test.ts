import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { SessionEndCause, type Session } from '../../src/gen/shardkeep/session/v1/session.js';
import { failureOf } from '../support/client.js';
import { describeWithRedisClock, ServiceClocks, startClockedRedis, type ClockedRedis } from '../support/redis-clock.js';
import { policiesFile, randomNamespace, startTestService, type TestService } from '../support/service.js';

/**
 * Any schedule of calls, held to what is promised and not to how it is done: silence shorter than the idle TTL ends nothing,
 * one granularity more ends it, an extension lasts as long as it says, and no bound is passed.
 */

const IDLE_MS = 2_000;
const ABSOLUTE_MS = 9_000;
const RENEWAL_MS = 6_000;
/** The longest that a profile may have for this idle TTL. */
const GRANULARITY_MS = IDLE_MS / 20;

const profile = { idle_ttl_ms: IDLE_MS, touch_granularity_ms: GRANULARITY_MS, max_sessions: 0, at_limit: 'refuse' };
const profiles = {
  plain: { ...profile, absolute_ttl_ms: 0 },
  eager: { ...profile, absolute_ttl_ms: 0, touch_granularity_ms: 0 },
  absolute: { ...profile, absolute_ttl_ms: ABSOLUTE_MS },
  renewal: { ...profile, absolute_ttl_ms: ABSOLUTE_MS, renewal_ttl_ms: RENEWAL_MS },
};

type Action =
  | { readonly kind: 'validate' | 'update' | 'update without touch' | 'get' }
  | { readonly kind: 'extend' | 'announce'; readonly ms: number };

const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 8, arbitrary: fc.constant({ kind: 'validate' as const }) },
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      ...(['update', 'update without touch', 'get'] as const).map((kind): Action => ({ kind })),
    ),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('extend' as const), ms: fc.integer({ min: 1, max: 2 * IDLE_MS }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('announce' as const), ms: fc.integer({ min: 1, max: RENEWAL_MS }) }),
  },
);
/** Often around the moments at which something is decided. */
const pauseMs = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 2 * GRANULARITY_MS }) },
  { weight: 4, arbitrary: fc.integer({ min: 0, max: IDLE_MS }) },
  { weight: 4, arbitrary: fc.constantFrom(GRANULARITY_MS - 1, GRANULARITY_MS, IDLE_MS - 1, IDLE_MS - GRANULARITY_MS) },
  { weight: 1, arbitrary: fc.constantFrom(IDLE_MS + GRANULARITY_MS - 1, IDLE_MS + GRANULARITY_MS) },
);

/** What was promised to one session, by what was done with it. */
class Promises {
  private silentSince: number;
  private extendedUntil = 0;
  private announcedFor = Number.POSITIVE_INFINITY;
  private readonly absoluteAt: number;
  private readonly renewBy: number;

  constructor(
    profileName: keyof typeof profiles,
    createdAt: number,
    private readonly granularityMs: number,
  ) {
    this.silentSince = createdAt;
    const bounded = profileName === 'absolute' || profileName === 'renewal';
    this.absoluteAt = bounded ? createdAt + ABSOLUTE_MS : Number.POSITIVE_INFINITY;
    this.renewBy = profileName === 'renewal' ? createdAt + RENEWAL_MS : Number.POSITIVE_INFINITY;
  }

  private get bound(): number {
    return Math.min(this.absoluteAt, this.renewBy, this.announcedFor);
  }

  /** Before this it must be live. */
  get liveUntil(): number {
    return Math.min(Math.max(this.silentSince + IDLE_MS, this.extendedUntil), this.bound);
  }

  /** From this on it must have ended. */
  get endedFrom(): number {
    return Math.min(Math.max(this.silentSince + IDLE_MS + this.granularityMs, this.extendedUntil), this.bound);
  }

  get cause(): SessionEndCause {
    if (this.endedFrom === this.announcedFor) return SessionEndCause.DESTROYED;
    if (this.endedFrom === this.absoluteAt) return SessionEndCause.EXPIRED_ABSOLUTE;
    return this.endedFrom === this.renewBy ? SessionEndCause.EXPIRED_RENEWAL : SessionEndCause.EXPIRED_IDLE;
  }

  apply({ kind, ...rest }: Action, now: number): void {
    const ms = 'ms' in rest ? rest.ms : 0;
    if (kind === 'announce') this.announcedFor = Math.min(this.announcedFor, now + ms);
    if (kind === 'extend') this.extendedUntil = Math.max(this.extendedUntil, now + ms);
    if (kind === 'validate' || kind === 'update' || kind === 'extend') this.silentSince = now;
  }
}

describeWithRedisClock('deadlines', () => {
  let redis: ClockedRedis;
  let clocks: ServiceClocks;
  let service: TestService;

  beforeAll(async () => {
    redis = await startClockedRedis();
    clocks = new ServiceClocks();
    service = await startTestService({
      REDIS_URL: redis.server.url,
      POLICIES_FILE: policiesFile({ rpc_limits: [], session_profiles: profiles }),
    });
  });
  afterAll(async () => {
    await service.stop();
    await redis.remove();
  });

  async function stepTo(timeMs: number): Promise<void> {
    redis.clock.stopAt(timeMs);
    await clocks.sample();
  }

  /** Undefined: it has ended. */
  async function act(action: Action, sessionId: string, sessionToken: string): Promise<Session | undefined> {
    const { sessions } = service;
    const whenThere = async (answer: Promise<{ session: Session | undefined }>): Promise<Session | undefined> => {
      const outcome = await answer.catch((error: unknown) => failureOf(Promise.reject(error as Error)));
      if ('session' in outcome) return outcome.session;
      expect(outcome.code).toBe(Code.NOT_FOUND);
      return undefined;
    };
    switch (action.kind) {
      case 'validate':
        return (await sessions.validateSession({ sessionToken })).session;
      case 'update':
        return whenThere(sessions.updateSession({ sessionId }));
      case 'update without touch':
        return whenThere(sessions.updateSession({ sessionId, noTouch: true }));
      case 'extend':
        return whenThere(sessions.extendSession({ sessionId, ttlMs: BigInt(action.ms) }));
      case 'announce':
        await sessions.destroySession({ sessionId, reason: 'told', effectiveInMs: BigInt(action.ms) });
        return whenThere(sessions.getSession({ sessionId }));
      case 'get':
        return whenThere(sessions.getSession({ sessionId }));
    }
  }

  test('hold what is promised, whatever is done and whenever', async () => {
    let endings = 0;
    const schedule = fc.array(fc.tuple(pauseMs, action), { minLength: 1, maxLength: 12 });
    const profileName = fc.constantFrom('plain' as const, 'eager' as const, 'absolute' as const, 'renewal' as const);
    await fc.assert(
      fc.asyncProperty(profileName, schedule, async (name, steps) => {
        const created = await service.sessions.createSession({ userId: randomNamespace(), profile: name });
        const { session, sessionToken } = created;
        if (session === undefined) throw new Error('not created');
        const { sessionId } = session;
        const promises = new Promises(name, redis.clock.nowMs, profiles[name].touch_granularity_ms);
        let last = session;
        for (const [pause, action] of steps) {
          await stepTo(redis.clock.nowMs + pause);
          const now = redis.clock.nowMs;
          const mustLive = now < promises.liveUntil;
          const mustHaveEnded = now >= promises.endedFrom;
          const answered = await act(action, sessionId, sessionToken);
          if (answered === undefined) {
            expect({ now, mustLive }).toEqual({ now, mustLive: false });
            break;
          }
          expect({ now, mustHaveEnded }).toEqual({ now, mustHaveEnded: false });
          promises.apply(action, now);
          last = answered;
          const expiresAt = Number(answered.expiresAtMs);
          expect(expiresAt).toBeGreaterThanOrEqual(promises.liveUntil);
          expect(expiresAt).toBeLessThanOrEqual(promises.endedFrom);
        }

        // and what the last answer said of its end is what comes, to the millisecond
        const expiresAt = Number(last.expiresAtMs);
        if (redis.clock.nowMs < expiresAt) {
          await stepTo(expiresAt - 1);
          expect((await service.sessions.getSession({ sessionId })).session).toEqual(last);
          await stepTo(expiresAt);
        }
        const { end } = await service.sessions.validateSession({ sessionToken });
        const cause = expiresAt === promises.endedFrom ? promises.cause : SessionEndCause.EXPIRED_IDLE;
        expect(end).toMatchObject({ cause, endedAtMs: last.expiresAtMs });
        if (end?.cause !== SessionEndCause.EXPIRED_IDLE) endings++;
      }),
      { numRuns: 300 },
    );
    // otherwise the bounds were hardly tried
    expect(endings).toBeGreaterThan(30);
  });
});
