import { setTimeout as sleep } from 'node:timers/promises';
import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { ValidateSessionStatus } from '../../src/gen/shardkeep/session/v1/session.js';
import { failureOf } from '../support/client.js';
import { startSentinel, type SentinelSetup } from '../support/redis-sentinel.js';
import { until } from '../support/redis-server.js';
import { policiesFile, startTestService, type TestService } from '../support/service.js';

/** STATE_REPLICAS behind Sentinel: replicas die, and then the master. */

let setup: SentinelSetup;
let service: TestService;

beforeAll(async () => {
  setup = await startSentinel({ replicas: 2 });
  service = await startTestService({
    REDIS_URL: setup.url,
    STATE_REPLICAS: '1',
    STATE_REPLICAS_TIMEOUT_MS: '500',
    POLICIES_FILE: policiesFile({ rpc_limits: [] }),
  });
});
afterAll(async () => {
  await service.stop();
  await setup.remove();
});

const logIn = (userId: string) => service.sessions.createSession({ userId }, { deadline: Date.now() + 20_000 });

test('one of two replicas may die; with the last one logins are refused, until one is back', async () => {
  const [, first, second] = setup.servers;
  const { sessionToken } = await logIn('ada');
  await first?.stop('SIGKILL');
  await logIn('bob');
  await second?.stop('SIGKILL');
  expect(await failureOf(logIn('eve'))).toMatchObject({ code: Code.UNAVAILABLE, reason: 'OUTCOME_UNKNOWN' });
  expect(await failureOf(logIn('eve'))).toMatchObject({ code: Code.UNAVAILABLE, reason: 'REDIS_UNAVAILABLE' });
  expect((await service.sessions.validateSession({ sessionToken })).status).toBe(ValidateSessionStatus.VALID);
  await Promise.all([first?.restart(), second?.restart()]);
  await until(() => logIn('dan').then(() => true));
});

test('of the logins that were answered none is lost with the master', async () => {
  const old = await setup.master();
  if (old === undefined) throw new Error('there is no master');
  const tokens: string[] = [];
  const stopped = new AbortController();
  const load = Array.from({ length: 8 }, async (_, worker) => {
    for (let round = 0; !stopped.signal.aborted; round++) {
      const answer = await logIn(`player-${String(worker)}-${String(round)}`).catch(() => undefined);
      if (answer === undefined) await sleep(50);
      else tokens.push(answer.sessionToken);
    }
  });
  const untilMore = (count: number): Promise<void> => {
    const goal = tokens.length + count;
    return until(() => tokens.length >= goal);
  };
  await untilMore(100);
  await old.stop('SIGKILL');
  const before = tokens.length;
  await setup.untilFailedOverFrom(old);
  await untilMore(20);
  stopped.abort();
  await Promise.all(load);
  const found = await Promise.all(tokens.map((sessionToken) => service.sessions.validateSession({ sessionToken })));
  const lost = found.filter(({ status }) => status !== ValidateSessionStatus.VALID).length;
  process.stdout.write(`${String(lost)} of ${String(tokens.length)} lost, ${String(before)} from before\n`);
  expect(lost).toBe(0);
});
