import { afterEach, expect, test } from '@jest/globals';
import { freePort, startRedis } from '../../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../../support/service-process.js';
import { randomNamespace } from '../../support/service.js';
import { client, login, POLICIES_FILE } from '../../client/sessions/support.js';
import { join, Player, startGame, untilKicked } from './support.js';

/** Sockets while the service that they go through is killed, as a process, and comes back at the same address. */

afterEach(killServiceProcesses);

const END = { reason: 'while away', message: 'Bye' };
const NOTICE = { cause: 'destroyed', ...END };

test.each(['resumes', 'must look anew'])(
  'what ended while the service was killed is found out when it is back, where the watch %s',
  async (how) => {
    const redis = await startRedis();
    const env = {
      ...{ REDIS_URL: redis.url, NAMESPACE: randomNamespace(), POLICIES_FILE },
      GRPC_LISTEN: `127.0.0.1:${String(await freePort())}`,
    };
    const [watched, other] = await Promise.all([
      startServiceProcess(env),
      startServiceProcess({ ...env, GRPC_LISTEN: '127.0.0.1:0' }),
    ]);
    const there = client(other.address).sessions;
    const playing = await startGame(client(watched.address, { timeoutMs: 2_000 }), { touchEveryMs: 0 });
    const [ended, kept] = [await login(there), await login(there)];
    const [one, two] = [await join(playing, ended.sessionToken), await join(playing, kept.sessionToken)];

    await watched.stop('SIGKILL');
    await there.destroyUserSessions(ended.session.userId, END);
    const refused = await new Player(playing.url, kept.sessionToken).outcome;
    expect(refused).toEqual({ code: 'unavailable', retryAfterMs: expect.any(Number) });
    // and they play on
    await Promise.all([one.act(), two.act()]);
    if (how === 'must look anew') {
      const streams = await redis.command('KEYS', `${env.NAMESPACE}:sessions:*:events`);
      if (!Array.isArray(streams) || streams.length === 0) throw new Error('no events');
      await redis.command('DEL', ...streams.map(String));
    }
    await startServiceProcess(env);
    expect(await untilKicked(one)).toEqual(NOTICE);

    // and it goes on
    await two.act();
    await there.destroySession(kept.session.sessionId, END);
    expect(await untilKicked(two)).toEqual(NOTICE);
    await redis.remove();
  },
);
