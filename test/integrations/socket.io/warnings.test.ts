import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import type { Logger } from '../../../src/client/index.js';
import { until } from '../../support/redis-server.js';
import { sharedRedisUrl, startTestService } from '../../support/service.js';
import { client, login, POLICIES_FILE } from '../../client/sessions/support.js';
import { join, Player, startGame, type GameOptions } from './support.js';

/** Who hears of what goes wrong. */

const warned: unknown[] = [];

beforeEach(() => {
  warned.length = 0;
  jest.spyOn(process, 'emitWarning').mockImplementation((message: string | Error, options?: unknown) => {
    warned.push({ message, ...(options as object) });
  });
});
afterEach(() => {
  jest.restoreAllMocks();
});

async function start(options: GameOptions) {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE });
  const connected = client(service.address);
  const { sessions } = connected;
  const playing = await startGame(connected, options);
  return { sessions, playing, connected, stop: () => service.stop() };
}

function fail(): never {
  throw new RangeError('of the application');
}

test.each<[string, NonNullable<GameOptions['onStatus']>]>([
  ['throws', fail],
  // as JavaScript writes it: its rejection would end the process
  ['rejects', async () => Promise.reject(new RangeError('of the application'))],
])('without a logger a callback that %s is a warning of the process', async (_does, onStatus) => {
  const { sessions, playing, stop } = await start({ logger: undefined, onStatus });
  await join(playing, (await login(sessions)).sessionToken);
  await until(() => warned.length > 0);
  expect(warned).toEqual([
    expect.objectContaining({ type: 'ShardkeepWarning', detail: expect.stringContaining('of the application') }),
  ]);
  await stop();
});

test('without a logger handshakes that nobody can tell about are a warning of the process, once', async () => {
  const { sessions, playing, connected, stop } = await start({ logger: undefined });
  const { sessionToken } = await login(sessions);
  await join(playing, sessionToken);
  await connected.close();
  for (let count = 0; count < 3; count++)
    expect(await new Player(playing.url, sessionToken).outcome).toMatchObject({ code: 'unavailable' });
  expect(warned).toEqual([expect.objectContaining({ type: 'ShardkeepWarning' })]);
  await stop();
});

test('a logger is told in place of the process, and false tells nobody', async () => {
  const said: unknown[] = [];
  const logger: Logger = { debug: () => undefined, warn: () => undefined, error: (details) => void said.push(details) };
  for (const each of [logger, false] as const) {
    const { sessions, playing, stop } = await start({ logger: each, onStatus: fail });
    await join(playing, (await login(sessions)).sessionToken);
    await stop();
  }
  expect(said).toEqual([{ err: expect.any(RangeError) }]);
  expect(warned).toEqual([]);
});
