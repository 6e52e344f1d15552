import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import {
  CreateSessionStatus,
  RotateSessionStatus,
  ValidateSessionStatus,
  type CreateSessionRequest,
} from '../../src/gen/shardkeep/session/v1/session.js';
import { failureOf } from '../support/client.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { policiesFile, randomNamespace, startTestService, type TestService } from '../support/service.js';

/** A Redis that stands still while it is asked, so that the caller gives up and the script runs all the same. */

let redis: RedisServer;
let service: TestService;

beforeAll(async () => {
  redis = await startRedis();
  service = await startTestService({ REDIS_URL: redis.url, POLICIES_FILE: policiesFile({ rpc_limits: [] }) });
});
afterAll(async () => {
  await service.stop();
  await redis.remove();
});

/** The call reaches Redis and its answer nobody. */
async function lose(call: (options: { deadline: number }) => Promise<unknown>): Promise<void> {
  redis.signal('SIGSTOP');
  const { code } = await failureOf(call({ deadline: Date.now() + 400 }));
  redis.signal('SIGCONT');
  expect(code).toBe(Code.DEADLINE_EXCEEDED);
}

const countOf = async (userId: string): Promise<number> =>
  (await service.sessions.listUserSessions({ userId })).totalCount;

async function endedAs(reason: string): Promise<boolean> {
  const keys = (await redis.command('KEYS', `${service.namespace}:sessions:*:events`)) as string[];
  const streams = await Promise.all(keys.map((key) => redis.command('XRANGE', key, '-', '+')));
  return JSON.stringify(streams).includes(`"reason","${reason}"`);
}

test('a login whose answer was lost is given back, and with a request id it waits for the retry', async () => {
  const { sessions } = service;
  const request: Partial<CreateSessionRequest> = {
    userId: randomNamespace(),
    requestId: randomNamespace().padEnd(32, 'x'),
  };
  await lose((options) => sessions.createSession(request, options));
  const userId = randomNamespace();
  await lose((options) => sessions.createSession({ userId }, options));
  await until(() => endedAs('unclaimed'));
  expect(await countOf(userId)).toBe(0);

  expect(await countOf(request.userId ?? '')).toBe(1);
  const retried = await sessions.createSession(request);
  expect(retried.status).toBe(CreateSessionStatus.CREATED);
  const { status } = await sessions.validateSession({ sessionToken: retried.sessionToken });
  expect(status).toBe(ValidateSessionStatus.VALID);
  expect(await countOf(request.userId ?? '')).toBe(1);
});

test('a rotation whose answer was lost is found again by the old token', async () => {
  const { sessions } = service;
  const { sessionToken } = await sessions.createSession({ userId: randomNamespace() });
  await lose((options) => sessions.rotateSession({ sessionToken }, options));
  const retried = await sessions.rotateSession({ sessionToken });
  expect(retried.status).toBe(RotateSessionStatus.ROTATED);
  for (const token of [sessionToken, retried.sessionToken]) {
    expect((await sessions.validateSession({ sessionToken: token })).status).toBe(ValidateSessionStatus.VALID);
  }
});
