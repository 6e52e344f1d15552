import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ClaimCharacterStatus as Status, type Session } from '../../src/gen/shardkeep/session/v1/session.js';
import { keys, partitionOfUser } from '../../src/redis/keys.js';
import { failureOf } from '../support/client.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, randomNamespace } from '../support/service.js';
import {
  claim,
  claimIn,
  eventsOf,
  expire,
  login,
  POLICIES_FILE,
  REJECT,
  TAKEOVER,
  TAKEOVER_AFTER_DRAIN,
} from './claim-support.js';

/** A takeover that lets the other finish first. */

const LONG = { policy: TAKEOVER_AFTER_DRAIN, drainMs: 600_000n };
/** Of the packed claim. */
const DRAINING_UNTIL = '15';
const SHORT = { policy: TAKEOVER_AFTER_DRAIN, drainMs: 1n };

onEachTopology(
  'a character that is to be given up',
  (service, topology) => {
    let raw: RawRedis;
    beforeAll(async () => {
      raw = await rawRedis(topology);
    });
    afterAll(async () => {
      await raw.close();
    });

    const character = (userId: string) => ({ userId, characterId: 'hero' });
    const check = (userId: string, epoch: bigint) =>
      service().sessions.checkCharacterClaim({ ...character(userId), epoch });
    const claimOf = async (userId: string) => (await service().sessions.getCharacterClaim(character(userId))).claim;
    const end = ({ sessionId }: Session) => service().sessions.destroySession({ sessionId });
    const warnings = (userId: string) => eventsOf(raw, service().namespace, userId, 'character_taken');

    /** The holder with its epoch, and others of the same user. */
    const scene = async () => {
      const userId = randomNamespace();
      const [holder, next, other] = [
        await login(service(), userId),
        await login(service(), userId),
        await login(service(), userId),
      ];
      const { epoch } = claimIn(await claim(service(), holder, { owner: 'old' }));
      return { userId, holder, next, other, epoch };
    };
    type Scene = Awaited<ReturnType<typeof scene>>;
    /** The same, the time to drain being over. */
    const drained = async (): Promise<Scene> => {
      const all = await scene();
      const { userId, next, epoch } = all;
      expect((await claim(service(), next, SHORT)).status).toBe(Status.DRAINING);
      await until(async () => !(await check(userId, epoch)).valid);
      return all;
    };

    test('stays with its holder, who is told until when; the place is the first caller’s, at a time that does not move', async () => {
      const { userId, holder, next, other, epoch } = await scene();
      const first = await claim(service(), next, { ...LONG, owner: 'new' });
      expect(first.status).toBe(Status.DRAINING);
      const inTheWay = claimIn(first);
      expect(inTheWay).toMatchObject({ sessionId: holder.sessionId, owner: 'old', epoch });
      expect(first.retryAfterMs).toBe(600_000n);
      const until = inTheWay.drainingUntilMs;
      expect(await claimOf(userId)).toEqual(inTheWay);
      expect(await check(userId, epoch)).toEqual({ valid: true, drainingUntilMs: until });

      const again = await claim(service(), next, { ...LONG, drainMs: 1n });
      expect(again).toMatchObject({ status: Status.DRAINING, claim: inTheWay });
      expect(again.retryAfterMs).toBeLessThanOrEqual(600_000n);
      for (const options of [{ policy: REJECT }, LONG]) {
        expect(await claim(service(), other, options)).toMatchObject({ status: Status.HELD, claim: inTheWay });
      }
      expect(await claim(service(), next, { policy: REJECT })).toMatchObject({ status: Status.HELD, claim: inTheWay });
      const told = { session: holder.sessionId, user: userId, character: 'hero', effective_at: String(until) };
      expect(await warnings(userId)).toEqual([{ type: 'character_taken', ...told }]);
    });

    describe.each<[string, (scene: Scene) => Promise<unknown>]>([
      ['it is released', ({ userId, epoch }) => service().sessions.releaseCharacter({ ...character(userId), epoch })],
      ['its session is destroyed', ({ holder }) => end(holder)],
      ['its session runs out unnoticed', ({ holder }) => expire(raw, service().namespace, holder)],
    ])('once %s', (_, give) => {
      test('is only for the one that is next, at once', async () => {
        const all = await scene();
        const { userId, next, other, epoch } = all;
        const { drainingUntilMs } = claimIn(await claim(service(), next, { ...LONG, owner: 'new' }));
        await give(all);
        expect(await claimOf(userId)).toBeUndefined();
        expect((await check(userId, epoch)).valid).toBe(false);
        for (const options of [{ policy: REJECT }, LONG]) {
          const answer = await claim(service(), other, options);
          const inTheWay = { sessionId: next.sessionId, owner: 'new', epoch: 0n, claimedAtMs: 0n, drainingUntilMs };
          expect(answer).toMatchObject({ status: Status.HELD, claim: inTheWay });
        }
        const answer = await claim(service(), next, LONG);
        expect(answer).toMatchObject({ status: Status.CLAIMED, takenFromSessionId: '' });
        expect(claimIn(answer)).toMatchObject({ sessionId: next.sessionId, drainingUntilMs: 0n });
        expect(claimIn(answer).epoch).toBeGreaterThan(epoch);
        expect(await warnings(userId)).toHaveLength(1);
      });
    });

    describe('is, when the time is over,', () => {
      test('refused to its holder also when nobody takes it, whatever becomes of the one that was next', async () => {
        const { userId, holder, next, epoch } = await drained();
        expect(await claimOf(userId)).toBeUndefined();
        await end(next);
        expect((await check(userId, epoch)).valid).toBe(false);
        expect(await service().sessions.releaseCharacter({ ...character(userId), epoch })).toEqual({ released: false });
        const answer = await claim(service(), holder, { policy: REJECT });
        expect(answer).toMatchObject({ status: Status.CLAIMED, takenFromSessionId: '' });
        expect(claimIn(answer).epoch).toBeGreaterThan(epoch);
      });

      test.each(['the one that was next', 'anybody else', 'the holder'])('for %s', async (who) => {
        const { holder, next, other, epoch } = await drained();
        const by = who === 'anybody else' ? other : who === 'the holder' ? holder : next;
        const answer = await claim(service(), by, { policy: REJECT });
        expect(answer).toMatchObject({
          status: Status.CLAIMED,
          takenFromSessionId: by === holder ? '' : holder.sessionId,
        });
        const { epoch: now, drainingUntilMs } = claimIn(answer);
        expect(now).toBeGreaterThan(epoch);
        expect(drainingUntilMs).toBe(0n);
        // the end of those that lost it changes nothing
        for (const each of [holder, next, other]) if (each !== by) await end(each);
        expect((await check(holder.userId, now)).valid).toBe(true);
      });
    });

    describe('stays with its holder after all where the session that was next ends in time,', () => {
      test.each<[string, (session: Session) => Promise<unknown>]>([
        ['destroyed', end],
        ['run out unnoticed', (session) => expire(raw, service().namespace, session)],
      ])('%s', async (_, endIt) => {
        const { userId, holder, next, other, epoch } = await scene();
        await claim(service(), next, LONG);
        await endIt(next);
        const endedBy = Date.now();
        expect(await check(userId, epoch)).toEqual({ valid: true, drainingUntilMs: 0n });
        expect(await claimOf(userId)).toMatchObject({ sessionId: holder.sessionId, epoch, drainingUntilMs: 0n });
        await until(() => Date.now() > endedBy);
        // as if the time were over now
        const nowMs = Buffer.alloc(6);
        nowMs.writeUIntBE(Date.now(), 0, 6);
        const key = keys.character(service().namespace, partitionOfUser(userId), userId, 'hero');
        await raw.command('SETRANGE', key, DRAINING_UNTIL, nowMs);
        expect(await check(userId, epoch)).toEqual({ valid: true, drainingUntilMs: 0n });
        // and another may be next
        expect((await claim(service(), other, LONG)).status).toBe(Status.DRAINING);
        expect(await warnings(userId)).toHaveLength(2);
      });
    });

    test('goes to whoever takes it over at once, and nobody is next any more', async () => {
      const { userId, holder, next, other, epoch } = await scene();
      await claim(service(), next, LONG);
      const answer = await claim(service(), other, { policy: TAKEOVER });
      expect(answer).toMatchObject({ status: Status.CLAIMED, takenFromSessionId: holder.sessionId });
      expect(claimIn(answer).drainingUntilMs).toBe(0n);
      expect((await check(userId, epoch)).valid).toBe(false);
      expect(await claim(service(), next, { policy: REJECT })).toMatchObject({
        status: Status.HELD,
        claim: { sessionId: other.sessionId, drainingUntilMs: 0n },
      });
      const told = await warnings(userId);
      expect(told.map(({ session, effective_at: at }) => [session, at === undefined])).toEqual([
        [holder.sessionId, false],
        [holder.sessionId, true],
      ]);
      await end(next);
      expect((await check(userId, claimIn(answer).epoch)).valid).toBe(true);
    });

    test('may be taken over by the one that is next, without waiting', async () => {
      const { holder, next } = await scene();
      await claim(service(), next, LONG);
      expect(await claim(service(), next, { policy: TAKEOVER })).toMatchObject({
        ...{ status: Status.CLAIMED, takenFromSessionId: holder.sessionId },
      });
    });

    test('can be claimed again by its holder, but not kept so', async () => {
      const { userId, holder, next, epoch } = await scene();
      const { drainingUntilMs } = claimIn(await claim(service(), next, LONG));
      for (const policy of [REJECT, TAKEOVER]) {
        const answer = await claim(service(), holder, { policy });
        expect(answer).toMatchObject({ status: Status.CLAIMED, takenFromSessionId: '', claim: { drainingUntilMs } });
        expect((await check(userId, epoch)).valid).toBe(false);
      }
      expect(await claim(service(), next, LONG)).toMatchObject({ status: Status.DRAINING, claim: { drainingUntilMs } });
    });

    test('counts for the one that is next as one of its eight', async () => {
      const { userId, next, other } = await scene();
      for (let index = 0; index < 8; index++) await claim(service(), next, { characterId: `char-${String(index)}` });
      const failure = await failureOf(claim(service(), next, LONG));
      expect(failure).toMatchObject({ code: Code.FAILED_PRECONDITION, reason: 'TOO_MANY_CHARACTERS' });
      expect((await claimOf(userId))?.drainingUntilMs).toBe(0n);
      expect(await warnings(userId)).toEqual([]);
      // HELD is told before: it takes up no place
      await claim(service(), other, LONG);
      expect((await claim(service(), next, LONG)).status).toBe(Status.HELD);
    });

    test('is everybody’s when holder and next end in one step', async () => {
      const { userId, next } = await scene();
      await claim(service(), next, LONG);
      await service().sessions.destroyUserSessions({ userId });
      const answer = await claim(service(), await login(service(), userId), { policy: REJECT });
      expect(answer).toMatchObject({ status: Status.CLAIMED, takenFromSessionId: '' });
    });
  },
  { POLICIES_FILE },
);
