import { afterEach, expect, test } from '@jest/globals';
import { freePort } from '../../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../../support/service-process.js';
import { randomNamespace, sharedRedisUrl } from '../../support/service.js';
import { client, login, POLICIES_FILE } from './support.js';
import { WatchListener } from './watch-listener.js';

/** A watch while the service it goes through is killed, as a process, and comes back at the same address. */

afterEach(killServiceProcesses);

async function environment(): Promise<Record<string, string>> {
  const GRPC_LISTEN = `127.0.0.1:${String(await freePort())}`;
  return { REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: randomNamespace(), POLICIES_FILE, GRPC_LISTEN };
}

test.each(['SIGKILL', 'SIGTERM'] as const)(
  'what happened while the service was away after %s is told',
  async (signal) => {
    const env = await environment();
    const [watched, other] = await Promise.all([
      startServiceProcess(env),
      startServiceProcess({ ...env, GRPC_LISTEN: '127.0.0.1:0' }),
    ]);
    const elsewhere = client(other.address).sessions;
    const [first, second] = [await login(elsewhere), await login(elsewhere)];
    const [one, two] = [first.session.sessionId, second.session.sessionId];
    const listener = new WatchListener(client(watched.address).sessions.watchSessions({ all: true }));
    await listener.watch.ready;
    await elsewhere.destroySession(one);
    await listener.untilTold(`destroyed ${one}`);

    await watched.stop(signal);
    await elsewhere.destroySession(two, { reason: 'while away' });
    const third = await login(elsewhere);
    await startServiceProcess(env);
    await listener.untilTold(`destroyed ${two}`);
    await listener.untilTold(`created ${third.session.sessionId}`);
    expect(listener.events.filter(({ type }) => type === 'resync')).toEqual([]);

    // and it goes on
    await elsewhere.destroySession(third.session.sessionId);
    await listener.untilTold(`destroyed ${third.session.sessionId}`);
    listener.watch.close();
    await listener.ended;
  },
);

test('a watch may be there before its service, and ends with its client while there is none', async () => {
  const env = await environment();
  const connected = client(env.GRPC_LISTEN ?? '');
  const listener = new WatchListener(connected.sessions.watchSessions({ all: true }));
  const service = await startServiceProcess(env);
  await listener.watch.ready;
  const { session } = await login(client(service.address).sessions);
  await listener.untilTold(`created ${session.sessionId}`);
  await service.stop('SIGKILL');
  await connected.close();
  await expect(listener.ended).resolves.toBeUndefined();
});
