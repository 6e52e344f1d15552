import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ClaimCharacterStatus as Status, type Session } from '../../src/gen/shardkeep/session/v1/session.js';
import { keys, partitionOfUser } from '../../src/redis/keys.js';
import { failureOf } from '../support/client.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { onEachTopology, randomNamespace } from '../support/service.js';
import { claim, claimIn, eventsOf, expire, login, POLICIES_FILE, REJECT, TAKEOVER } from './claim-support.js';

/** One character, one login. What TAKEOVER_AFTER_DRAIN does is in claim-drain.test.ts. */

const MAX_CHARACTERS = 8;

onEachTopology(
  'a character',
  (service, topology) => {
    let raw: RawRedis;
    beforeAll(async () => {
      raw = await rawRedis(topology);
    });
    afterAll(async () => {
      await raw.close();
    });

    const keyOf = (userId: string, characterId = 'hero'): string =>
      keys.character(service().namespace, partitionOfUser(userId), userId, characterId);
    const claimOf = async (userId: string, characterId = 'hero') =>
      (await service().sessions.getCharacterClaim({ userId, characterId })).claim;
    const isValid = async (userId: string, epoch: bigint, characterId = 'hero'): Promise<boolean> =>
      (await service().sessions.checkCharacterClaim({ userId, characterId, epoch })).valid;
    const epochOf = async (session: Session, options = {}): Promise<bigint> => {
      const answer = await claim(service(), session, options);
      expect(answer.status).toBe(Status.CLAIMED);
      return claimIn(answer).epoch;
    };

    test('that nobody plays goes to whoever claims it, with an epoch that counts', async () => {
      const userId = randomNamespace();
      const session = await login(service(), userId);
      expect(await claimOf(userId)).toBeUndefined();
      const answer = await claim(service(), session, { owner: 'shard-3' });
      expect(answer).toMatchObject({ status: Status.CLAIMED, takenFromSessionId: '', retryAfterMs: 0n });
      const claimed = claimIn(answer);
      expect(claimed).toMatchObject({ sessionId: session.sessionId, owner: 'shard-3', drainingUntilMs: 0n });
      expect(claimed.claimedAtMs).toBe(claimed.epoch / 1_000n);
      expect(await claimOf(userId)).toEqual(claimed);
      expect(await isValid(userId, claimed.epoch)).toBe(true);
      for (const other of [claimed.epoch - 1n, claimed.epoch + 1n]) expect(await isValid(userId, other)).toBe(false);
    });

    test('of another user is another one, also where the ids run together to the same text', async () => {
      const id = randomNamespace();
      const pairs = [
        [id, 'a:b'],
        [`${id}:a`, 'b'],
        [`${id}%3Aa`, 'b'],
        [id, 'a%3Ab'],
      ] as const;
      for (const [userId, characterId] of pairs) await epochOf(await login(service(), userId), { characterId });
      const claims = await Promise.all(pairs.map(([userId, characterId]) => claimOf(userId, characterId)));
      expect(new Set(claims.map((each) => each?.sessionId)).size).toBe(pairs.length);
    });

    test('is claimed again by its session with a new epoch, which fences the old one', async () => {
      const userId = randomNamespace();
      const session = await login(service(), userId);
      const first = await epochOf(session);
      const second = await epochOf(session, { owner: 'after the restart', policy: REJECT });
      expect(second).toBeGreaterThan(first);
      expect([await isValid(userId, first), await isValid(userId, second)]).toEqual([false, true]);
      expect(await service().sessions.releaseCharacter({ userId, characterId: 'hero', epoch: first })).toEqual({
        released: false,
      });
      expect((await claimOf(userId))?.owner).toBe('after the restart');
    });

    test('that another session plays is HELD under REJECT, and nothing changes', async () => {
      const userId = randomNamespace();
      const [holder, other] = [await login(service(), userId), await login(service(), userId)];
      const held = claimIn(await claim(service(), holder, { owner: 'a' }));
      const before = await raw.command('DUMP', keyOf(userId));
      for (const policy of [undefined, REJECT]) {
        const answer = await claim(service(), other, policy === undefined ? {} : { policy });
        expect(answer).toEqual({ status: Status.HELD, claim: held, retryAfterMs: 0n, takenFromSessionId: '' });
      }
      expect(await raw.command('DUMP', keyOf(userId))).toEqual(before);
      expect(await eventsOf(raw, service().namespace, userId, 'character_taken')).toEqual([]);
    });

    test('is taken over at once under TAKEOVER, and the one that lost it is told', async () => {
      const userId = randomNamespace();
      const characterId = 'hero:{7}%';
      const [holder, other] = [await login(service(), userId), await login(service(), userId)];
      const recordOf = keys.session(service().namespace, partitionOfUser(userId), holder.sessionId);
      const size = await raw.command('STRLEN', recordOf);
      const first = await epochOf(holder, { characterId });
      expect(await raw.command('STRLEN', recordOf)).toBeGreaterThan(Number(size));
      const answer = await claim(service(), other, { characterId, policy: TAKEOVER });
      expect(answer).toMatchObject({ status: Status.CLAIMED, takenFromSessionId: holder.sessionId });
      const { epoch } = claimIn(answer);
      expect(epoch).toBeGreaterThan(first);
      expect([await isValid(userId, first, characterId), await isValid(userId, epoch, characterId)]).toEqual([
        false,
        true,
      ]);
      expect(await eventsOf(raw, service().namespace, userId, 'character_taken')).toEqual([
        { type: 'character_taken', session: holder.sessionId, user: userId, character: characterId },
      ]);
      // it lists what it holds, and nothing more
      expect(await raw.command('STRLEN', recordOf)).toBe(size);
      // neither the late release nor the end of the one that lost it touches the other's claim
      expect(await service().sessions.releaseCharacter({ userId, characterId, epoch: first })).toEqual({
        released: false,
      });
      await service().sessions.destroySession({ sessionId: holder.sessionId });
      expect(await isValid(userId, epoch, characterId)).toBe(true);
    });

    test('is released only under the current epoch, once, and free for the next at once', async () => {
      const userId = randomNamespace();
      const { sessions } = service();
      const [holder, other] = [await login(service(), userId), await login(service(), userId)];
      const epoch = await epochOf(holder);
      const release = async (by: bigint) =>
        (await sessions.releaseCharacter({ userId, characterId: 'hero', epoch: by })).released;
      expect([await release(epoch - 1n), await release(epoch + 1n)]).toEqual([false, false]);
      expect([await release(epoch), await release(epoch)]).toEqual([true, false]);
      expect(await claimOf(userId)).toBeUndefined();
      expect(await isValid(userId, epoch)).toBe(false);
      expect(await epochOf(other, { policy: REJECT })).toBeGreaterThan(epoch);
      expect(await release(epoch)).toBe(false);
    });

    describe('is free as soon as its session has ended', () => {
      const endings: readonly [string, string, (session: Session) => Promise<unknown>][] = [
        ['by DestroySession', 'many', ({ sessionId }) => service().sessions.destroySession({ sessionId })],
        ['by DestroyUserSessions', 'many', ({ userId }) => service().sessions.destroyUserSessions({ userId })],
        ['by eviction', 'one', ({ userId }) => login(service(), userId, { profile: 'one' })],
        ['by its deadline, unnoticed', 'many', (session) => expire(raw, service().namespace, session)],
      ];
      test.each(endings)('%s', async (_, profile, end) => {
        const userId = randomNamespace();
        const session = await login(service(), userId, { profile });
        const epoch = await epochOf(session);
        await end(session);
        expect(await isValid(userId, epoch)).toBe(false);
        expect(await claimOf(userId)).toBeUndefined();
        expect(await service().sessions.releaseCharacter({ userId, characterId: 'hero', epoch })).toEqual({
          released: false,
        });
        const next = await login(service(), userId, { profile });
        const answer = await claim(service(), next, { policy: REJECT });
        expect(answer).toMatchObject({ status: Status.CLAIMED, takenFromSessionId: '' });
        expect(claimIn(answer).epoch).toBeGreaterThan(epoch);
        expect(await eventsOf(raw, service().namespace, userId, 'character_taken')).toEqual([]);
      });
    });

    test('never has an epoch twice: not after a release, a session’s end, a lost key or a clock that is set back', async () => {
      const userId = randomNamespace();
      const epochs = [await epochOf(await login(service(), userId))];
      const next = async (): Promise<void> => {
        epochs.push(await epochOf(await login(service(), userId), { policy: TAKEOVER }));
      };
      await service().sessions.releaseCharacter({ userId, characterId: 'hero', epoch: epochs[0] ?? 0n });
      await next();
      await service().sessions.destroyUserSessions({ userId });
      await next();
      await raw.command('DEL', keyOf(userId));
      await next();
      // a claim of a clock that was an hour ahead, then released
      const ahead = Buffer.alloc(8);
      ahead.writeBigUInt64BE((epochs.at(-1) ?? 0n) + 3_600_000_000n);
      await raw.command('SETRANGE', keyOf(userId), '1', ahead);
      await service().sessions.destroyUserSessions({ userId });
      await next();
      expect(epochs.at(-1)).toBe(ahead.readBigUInt64BE() + 1n);
      expect(epochs).toEqual(epochs.toSorted((a, b) => Number(a - b)));
      expect(new Set(epochs).size).toBe(epochs.length);
    });

    test('is not for a session that is not there, has ended or is another user’s', async () => {
      const userId = randomNamespace();
      const session = await login(service(), userId);
      const ended = await login(service(), userId);
      await service().sessions.destroySession({ sessionId: ended.sessionId });
      const stranger = { userId: randomNamespace(), sessionId: session.sessionId };
      const unknown = { userId, sessionId: `${session.sessionId.slice(0, 4)}${'A'.repeat(20)}` };
      // a user of the same partition, whose sessions stand beside each other
      let neighbour = randomNamespace();
      while (partitionOfUser(neighbour) !== partitionOfUser(userId)) neighbour = randomNamespace();
      for (const who of [stranger, unknown, ended, { userId: neighbour, sessionId: session.sessionId }]) {
        const failure = await failureOf(claim(service(), who, { policy: TAKEOVER }));
        expect(failure).toMatchObject({ code: Code.NOT_FOUND, reason: 'SESSION_NOT_FOUND' });
        expect(await claimOf(who.userId)).toBeUndefined();
      }
    });

    describe('is one of at most eight of a session:', () => {
      const names = Array.from({ length: MAX_CHARACTERS }, (_, index) => `char-${String(index)}`);
      const claimAll = async (session: Session): Promise<bigint[]> => {
        const epochs: bigint[] = [];
        for (const characterId of names) epochs.push(await epochOf(session, { characterId }));
        return epochs;
      };

      test('a ninth is refused until one is released, taken away or lost', async () => {
        const userId = randomNamespace();
        const [session, other] = [await login(service(), userId), await login(service(), userId)];
        const [first = 0n] = await claimAll(session);
        const ninth = () => claim(service(), session, { characterId: 'ninth' });
        const refused = { code: Code.FAILED_PRECONDITION, reason: 'TOO_MANY_CHARACTERS' };
        expect(await failureOf(ninth())).toMatchObject(refused);
        expect(await claimOf(userId, 'ninth')).toBeUndefined();
        // what it holds it may claim again
        const again = await epochOf(session, { characterId: 'char-0' });
        expect(again).toBeGreaterThan(first);

        const giveUp = async (by: () => Promise<unknown>): Promise<void> => {
          await by();
          const { epoch } = claimIn(await ninth());
          await service().sessions.releaseCharacter({ userId, characterId: 'ninth', epoch });
        };
        await giveUp(() => service().sessions.releaseCharacter({ userId, characterId: 'char-0', epoch: again }));
        await epochOf(session, { characterId: 'char-0' });
        expect(await failureOf(ninth())).toMatchObject(refused);
        await giveUp(() => claim(service(), other, { characterId: 'char-1', policy: TAKEOVER }));
        await epochOf(session, { characterId: 'char-1', policy: TAKEOVER });
        expect(await failureOf(ninth())).toMatchObject(refused);
        await giveUp(() => raw.command('DEL', keyOf(userId, 'char-2')));
      });

      test('all are free when it ends', async () => {
        const userId = randomNamespace();
        const [session, other] = [await login(service(), userId), await login(service(), userId)];
        const epochs = await claimAll(session);
        await service().sessions.destroySession({ sessionId: session.sessionId });
        for (const [index, characterId] of names.entries()) {
          expect(await claimOf(userId, characterId)).toBeUndefined();
          expect(await epochOf(other, { characterId })).toBeGreaterThan(epochs[index] ?? 0n);
        }
      });
    });

    test('leaves a session’s other books alone: its version, its deadline, its token and its fields', async () => {
      const userId = randomNamespace();
      const { sessions } = service();
      const options = { profile: 'many', userId, metadata: new Map([['ip', '203.0.113.9']]) };
      const { session, sessionToken } = await sessions.createSession(options);
      if (session === undefined) throw new Error('not created');
      const key = keys.session(service().namespace, partitionOfUser(userId), session.sessionId);
      const expiry = await raw.command('PEXPIRETIME', key);
      const epoch = await epochOf(session);
      const look = async () => (await sessions.getSession({ sessionId: session.sessionId })).session;
      expect(await look()).toEqual(session);
      expect(await raw.command('PEXPIRETIME', key)).toEqual(expiry);
      await sessions.updateSession({ sessionId: session.sessionId, noTouch: true, removeMetadataKeys: ['ip'] });
      const validated = await sessions.validateSession({ sessionToken });
      expect(validated.session?.metadata.size).toBe(0);
      await sessions.releaseCharacter({ userId, characterId: 'hero', epoch });
      expect(await look()).toEqual(validated.session);
    });
  },
  { POLICIES_FILE },
);
