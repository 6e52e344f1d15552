import { expect, test } from '@jest/globals';
import { FailedPreconditionError, NotFoundError, type Sessions } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { onEachTopology, randomNamespace } from '../../support/service.js';
import { client, login, POLICIES_FILE } from './support.js';

onEachTopology(
  'a character',
  (service) => {
    const sessions = (): Sessions => client(service().address).sessions;
    /** A character, and two sessions of its user. */
    async function two() {
      const character = { userId: randomNamespace(), characterId: 'hero' };
      const { userId } = character;
      const [first, second] = [await login(sessions(), { userId }), await login(sessions(), { userId })];
      return { character, first: first.session.sessionId, second: second.session.sessionId };
    }
    async function claimed(request: Parameters<Sessions['claimCharacter']>[0]) {
      const result = await sessions().claimCharacter(request);
      if (result.status !== 'claimed') throw new Error(result.status);
      return result;
    }

    test('is claimed, looked at and released', async () => {
      const { character, first } = await two();
      expect(await sessions().getCharacterClaim(character)).toBeUndefined();
      const { claim, takenFromSessionId } = await claimed({ ...character, sessionId: first, owner: 'shard-1' });
      expect(takenFromSessionId).toBeUndefined();
      expect(claim).toEqual({
        ...{ sessionId: first, owner: 'shard-1', drainingUntilMs: undefined },
        ...{ epoch: claim.epoch, claimedAtMs: Math.floor(claim.epoch / 1_000) },
      });
      expect(await sessions().getCharacterClaim(character)).toEqual(claim);
      const { epoch } = claim;
      const valid = { valid: true, drainingUntilMs: undefined };
      expect(await sessions().checkCharacterClaim({ ...character, epoch })).toEqual(valid);
      expect(await sessions().releaseCharacter({ ...character, epoch: epoch - 1 })).toBe(false);
      expect(await sessions().releaseCharacter({ ...character, epoch })).toBe(true);
      expect(await sessions().checkCharacterClaim({ ...character, epoch })).toMatchObject({ valid: false });
      expect((await errorOf(sessions().releaseCharacter({ ...character, epoch: Number.NaN }))).fields).toEqual([
        'epoch',
      ]);
    });

    test('is held against another session, or taken over', async () => {
      const { character, first, second } = await two();
      const { claim } = await claimed({ ...character, sessionId: first });
      expect(await sessions().claimCharacter({ ...character, sessionId: second })).toEqual({ status: 'held', claim });
      const taken = await claimed({ ...character, sessionId: second, policy: 'takeover' });
      expect(taken.takenFromSessionId).toBe(first);
      expect(taken.claim.epoch).toBeGreaterThan(claim.epoch);
      expect(await sessions().checkCharacterClaim({ ...character, epoch: claim.epoch })).toMatchObject({
        valid: false,
      });
    });

    test('is given up within the time to drain; who is next in line has no epoch yet', async () => {
      const { character, first, second } = await two();
      const { claim } = await claimed({ ...character, sessionId: first });
      const drain = { ...character, sessionId: second, policy: 'takeover_after_drain', drainMs: 60_000 } as const;
      const draining = await sessions().claimCharacter(drain);
      if (draining.status !== 'draining') throw new Error(draining.status);
      expect(draining.retryAfterMs).toBeGreaterThan(0);
      expect(draining.claim).toEqual({ ...claim, drainingUntilMs: draining.claim.drainingUntilMs });
      expect(draining.claim.drainingUntilMs).toBeGreaterThan(claim.claimedAtMs);
      const { drainingUntilMs } = draining.claim;
      expect(await sessions().checkCharacterClaim({ ...character, epoch: claim.epoch })).toEqual({
        ...{ valid: true, drainingUntilMs },
      });
      await sessions().releaseCharacter({ ...character, epoch: claim.epoch });
      expect(await sessions().getCharacterClaim(character)).toBeUndefined();
      expect(await sessions().claimCharacter({ ...character, sessionId: first })).toMatchObject({
        ...{ status: 'held', claim: { sessionId: second, epoch: undefined } },
      });
      expect((await claimed(drain)).claim.sessionId).toBe(second);
    });

    test('is refused to a session that is not the user’s, and to one that has eight', async () => {
      const { character, first } = await two();
      const stranger = (await login(sessions())).session.sessionId;
      const refused = await errorOf(sessions().claimCharacter({ ...character, sessionId: stranger }));
      expect(refused).toBeInstanceOf(NotFoundError);
      const claims = Array.from({ length: 8 }, (_, index) =>
        claimed({ ...character, characterId: String(index), sessionId: first }),
      );
      await Promise.all(claims);
      const ninth = await errorOf(sessions().claimCharacter({ ...character, sessionId: first }));
      expect(ninth).toBeInstanceOf(FailedPreconditionError);
      expect(ninth.reason).toBe('TOO_MANY_CHARACTERS');
    });
  },
  { POLICIES_FILE },
);
