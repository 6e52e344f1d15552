import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  RotateSessionStatus,
  ValidateSessionStatus,
  type Session,
} from '../../src/gen/shardkeep/session/v1/session.js';
import { onEachTopology, policiesFile, randomNamespace } from '../support/service.js';

/** Tokens of any generation, against a list of them. */

const profile = { idle_ttl_ms: 3_600_000, absolute_ttl_ms: 0, max_sessions: 0, at_limit: 'evict_oldest' };
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: {
    lasting: { ...profile, touch_granularity_ms: 0, rotation_grace_ms: 600_000 },
    lasting_coarse: { ...profile, touch_granularity_ms: 180_000, rotation_grace_ms: 600_000 },
    // the grace is over when the rotation is
    graceless: { ...profile, touch_granularity_ms: 0, rotation_grace_ms: 0 },
    graceless_coarse: { ...profile, touch_granularity_ms: 180_000, rotation_grace_ms: 0 },
  },
});

const { VALID, UNKNOWN, REVOKED } = ValidateSessionStatus;

onEachTopology(
  'tokens',
  (service) => {
    async function create(name: string): Promise<{ session: Session; token: string }> {
      const reply = await service().sessions.createSession({ userId: randomNamespace(), profile: name });
      if (reply.session === undefined) throw new Error('not created');
      return { session: reply.session, token: reply.sessionToken };
    }

    test('the statuses of both RPCs have the same numbers', () => {
      for (const status of ['UNKNOWN', 'EXPIRED', 'REVOKED', 'BINDING'] as const) {
        expect<number>(RotateSessionStatus[status]).toBe(ValidateSessionStatus[status]);
      }
      expect<number>(RotateSessionStatus.ROTATED).toBe(VALID);
    });

    test('any order of rotations, validations and an end goes as a model of it does', async () => {
      const step = fc.record({
        act: fc.constantFrom('rotate' as const, 'rotate' as const, 'validate' as const, 'destroy' as const),
        /** How many generations before the current one. */
        back: fc.nat(3),
      });
      const plan = fc.record({
        name: fc.constantFrom('lasting', 'lasting_coarse', 'graceless', 'graceless_coarse'),
        steps: fc.array(step, { minLength: 3, maxLength: 14 }),
      });
      await fc.assert(
        fc.asyncProperty(plan, async ({ name, steps }) => {
          const { sessions } = service();
          const { session, token } = await create(name);
          const tokens = [token];
          /** Who is told how it ended; undefined while it lives. */
          let told: Set<string> | undefined;
          for (const { act, back } of steps) {
            const at = Math.max(0, tokens.length - 1 - back);
            const age = tokens.length - 1 - at;
            const presented = tokens[at] ?? '';
            const holders = [tokens.at(-1) ?? '', tokens.at(-2) ?? ''];
            if (act === 'destroy') {
              // rarely, or there is little before the end
              if (back !== 3) continue;
              const { destroyed } = await sessions.destroySession({ sessionId: session.sessionId });
              expect(destroyed).toBe(told === undefined);
              told ??= new Set(holders);
              continue;
            }
            const opens = age === 0 || (age === 1 && name.startsWith('lasting'));
            if (told === undefined && !opens) told = new Set([...holders, presented]);
            const reply =
              act === 'rotate'
                ? await sessions.rotateSession({ sessionToken: presented })
                : await sessions.validateSession({ sessionToken: presented });
            if (told !== undefined) expect(reply.status).toBe(told.has(presented) ? REVOKED : UNKNOWN);
            else expect(reply.status).toBe(VALID);
            if (told !== undefined || !('sessionToken' in reply)) continue;
            if (age === 0) tokens.push(reply.sessionToken);
            else expect(reply.sessionToken).toBe(tokens.at(-1));
          }
        }),
        { numRuns: 40 },
      );
    });
  },
  { POLICIES_FILE },
);
