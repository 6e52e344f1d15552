import { describe, expect, test } from '@jest/globals';
import { ClaimCharacterStatus as Status, type Session } from '../../src/gen/shardkeep/session/v1/session.js';
import { onEachTopology, randomNamespace } from '../support/service.js';
import { claim, claimIn, login, POLICIES_FILE, REJECT, TAKEOVER, TAKEOVER_AFTER_DRAIN } from './claim-support.js';

/** Many sessions of one user that want one character. */

const SESSIONS = 30;
const character = (userId: string) => ({ userId, characterId: 'hero' });

onEachTopology(
  'claims that race',
  (service) => {
    const crowd = (userId: string, size: number): Promise<Session[]> =>
      Promise.all(Array.from({ length: size }, () => login(service(), userId)));
    const current = async (userId: string) => (await service().sessions.getCharacterClaim(character(userId))).claim;

    test('by REJECT let exactly one have the character, and all others know whom', async () => {
      const userId = randomNamespace();
      const sessions = await crowd(userId, SESSIONS);
      const answers = await Promise.all(sessions.map((session) => claim(service(), session, { policy: REJECT })));
      const granted = answers.filter(({ status }) => status === Status.CLAIMED);
      expect(granted).toHaveLength(1);
      const held = await current(userId);
      expect(answers.map(({ claim: told }) => told)).toEqual(answers.map(() => held));
    });

    test('by TAKEOVER come one after the other: each takes it from the one before, and only the last epoch counts', async () => {
      const userId = randomNamespace();
      const sessions = await crowd(userId, SESSIONS);
      const answers = await Promise.all(sessions.map((session) => claim(service(), session, { policy: TAKEOVER })));
      const chain = answers.toSorted((a, b) => Number(claimIn(a).epoch - claimIn(b).epoch));
      expect(new Set(chain.map((answer) => claimIn(answer).epoch)).size).toBe(SESSIONS);
      const holders = chain.map((answer) => claimIn(answer).sessionId);
      expect(chain.map(({ takenFromSessionId }) => takenFromSessionId)).toEqual(['', ...holders.slice(0, -1)]);
      const validity = await Promise.all(
        chain.map((answer) =>
          service().sessions.checkCharacterClaim({ ...character(userId), epoch: claimIn(answer).epoch }),
        ),
      );
      expect(validity.map(({ valid }) => valid)).toEqual(chain.map((_, index) => index === SESSIONS - 1));
    });

    test('by TAKEOVER_AFTER_DRAIN make one next and one only', async () => {
      const userId = randomNamespace();
      const [holder, ...others] = await crowd(userId, SESSIONS);
      if (holder === undefined) throw new Error('nobody');
      const { epoch } = claimIn(await claim(service(), holder));
      const wish = { policy: TAKEOVER_AFTER_DRAIN, drainMs: 600_000n };
      const answers = await Promise.all(others.map((session) => claim(service(), session, wish)));
      expect(answers.filter(({ status }) => status === Status.DRAINING)).toHaveLength(1);
      expect(answers.filter(({ status }) => status === Status.HELD)).toHaveLength(SESSIONS - 2);
      const release = service().sessions.releaseCharacter({ ...character(userId), epoch });
      const again = await Promise.all([release, ...others.map((session) => claim(service(), session, wish))]);
      const next = others[answers.findIndex(({ status }) => status === Status.DRAINING)];
      const won = again.filter((answer) => 'status' in answer && answer.status === Status.CLAIMED);
      expect(won.length).toBeLessThanOrEqual(1);
      const late = next === undefined ? undefined : await claim(service(), next, wish);
      expect(late).toMatchObject({ status: Status.CLAIMED, takenFromSessionId: '' });
    });

    describe('with releases, logouts and logins between them', () => {
      test('never let an epoch count once a higher one counted', async () => {
        const userId = randomNamespace();
        const policies = [{ policy: REJECT }, { policy: TAKEOVER }, { policy: TAKEOVER_AFTER_DRAIN, drainMs: 3n }];
        /** The highest epoch that was granted or found to count, as far as answers are there. */
        let floor = 0n;
        let turns = 0;
        const epochs: bigint[] = [];
        const late: bigint[] = [];
        const raise = (epoch: bigint): void => {
          if (epoch > floor) floor = epoch;
        };
        const check = async (epoch: bigint): Promise<void> => {
          const before = floor;
          const { valid } = await service().sessions.checkCharacterClaim({ ...character(userId), epoch });
          if (!valid) return;
          if (epoch < before) late.push(epoch);
          raise(epoch);
        };
        const play = async (player: number): Promise<void> => {
          let session = await login(service(), userId);
          for (let round = 0; round < 12; round++) {
            const turn = (turns++ * 7 + player) % 11;
            const answer = await claim(service(), session, policies[turn % policies.length]);
            if (answer.status === Status.CLAIMED) {
              const { epoch } = claimIn(answer);
              raise(epoch);
              epochs.push(epoch);
              if (turn % 4 === 0) await service().sessions.releaseCharacter({ ...character(userId), epoch });
            }
            await Promise.all([...epochs.slice(-4), ...epochs.slice(0, 2)].map((epoch) => check(epoch)));
            if (turn % 5 === 0) {
              await service().sessions.destroySession({ sessionId: session.sessionId });
              session = await login(service(), userId);
            }
          }
        };
        await Promise.all(Array.from({ length: 12 }, (_, player) => play(player)));
        expect(epochs.length).toBeGreaterThan(12);
        expect(new Set(epochs).size).toBe(epochs.length);
        expect(late).toEqual([]);
      });
    });
  },
  { POLICIES_FILE },
);
