import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { ServiceClient } from './service-client.js';
import { forEachOf, Refusals } from './fixtures.js';
import type { LimitPolicyName } from './limit-policies.js';
import type { Operation } from './load-loop.js';
import type { LimitsPlan } from './protocol.js';

/** Who can be asked for limits, whatever stands behind it. */
export interface Checks {
  /** Whether all policies admit the subject, and each was charged. `alone`: as in LimitsPlan. */
  check(subject: string, policies: readonly LimitPolicyName[], alone: boolean): Promise<boolean>;
  /** Each subject by itself. */
  checkMany(subjects: readonly string[], policy: LimitPolicyName): Promise<readonly boolean[]>;
}

const ANSWERS_A_TURN = 128;

/** The operation of the workload `limits`. Few or all of its answers are denials, as the plan says. */
export function limitsOperation(checks: Checks, plan: LimitsPlan | undefined): Operation {
  if (plan === undefined) return () => Promise.reject(new Error('the workload `limits` needs a plan of limits'));
  const { subjects, policies, as, checks: count = 1, denied = false, alone = false } = plan;
  const refusals = new Refusals('limits');
  const subjectOf = (): string => subjectNamed(Math.floor(Math.random() * subjects));
  const see = (allowed: boolean): void => {
    if (!denied) refusals.count(allowed);
    else if (allowed) throw new Error('admitted what was to be denied');
  };
  const one = async (subject: string, some: readonly LimitPolicyName[]): Promise<void> => {
    see(await checks.check(subject, some, alone));
  };
  switch (as) {
    case 'one check': {
      if (!denied) return () => one(subjectOf(), policies);
      // answers that wait for nobody would leave no turn of the event loop to timers
      let answered = 0;
      return async () => {
        await one(subjectOf(), policies);
        if (++answered % ANSWERS_A_TURN === 0) await nextTurn();
      };
    }
    case 'at once':
      if (count > 1) return () => Promise.all(Array.from({ length: count }, () => one(subjectOf(), policies)));
      return () => {
        const subject = subjectOf();
        return Promise.all(policies.map((policy) => one(subject, [policy])));
      };
    case 'in turn':
      return async () => {
        const subject = subjectOf();
        for (const policy of policies) await one(subject, [policy]);
      };
    case 'many': {
      const [policy] = policies;
      if (policy === undefined) throw new Error('no policy');
      return async () => {
        const answers = await checks.checkMany(Array.from({ length: count }, subjectOf), policy);
        if (answers.length !== count) throw new Error('an answer is missing');
        for (const allowed of answers) see(allowed);
      };
    }
  }
}

/** As long as a denial is remembered at most that came before anybody listened for its end. */
const UNHEARD_MS = 1_100;

/** Uses up what `denied` plans find used up, and lets whoever remembers denials begin to. */
export async function spend(checks: Checks, { denied = false, subjects, policies }: LimitsPlan): Promise<void> {
  if (!denied) return;
  const names = Array.from({ length: subjects }, (_, index) => subjectNamed(index));
  const ask = (): Promise<void> => forEachOf(names, (subject) => checks.check(subject, policies, false));
  await ask();
  await ask();
  await sleep(UNHEARD_MS);
  await ask();
}

function subjectNamed(index: number): string {
  return `user:${1_000_000 + index}`;
}

export function serviceChecks({ rateLimits }: ServiceClient): Checks {
  const limitOf = (subject: string, value: LimitPolicyName) => ({
    subject,
    policy: { $case: 'policyName', value } as const,
    cost: undefined,
    role: undefined,
    subjects: undefined,
  });
  return {
    check: async (subject, policies, alone) => {
      const limits = policies.map((policy) => limitOf(subject, policy));
      // what would do with a part of what it asks for is decided by itself
      const { allowed } = await rateLimits.checkRateLimit(alone ? { limits, minCost: 1 } : { limits });
      return allowed;
    },
    checkMany: async (subjects, policy) => {
      const checks = subjects.map((subject) => ({
        limits: [limitOf(subject, policy)],
        cost: undefined,
        minCost: undefined,
      }));
      const { decisions } = await rateLimits.checkManyRateLimits({ checks });
      return decisions.map(({ allowed }) => allowed);
    },
  };
}
