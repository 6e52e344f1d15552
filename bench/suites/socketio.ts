import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { Server } from 'socket.io';
import { io as connectSocket, type Socket } from 'socket.io-client';
import { connect, type Sessions } from '../../src/client/index.js';
import { shardkeepSessions } from '../../src/integrations/socket.io/index.js';
import { LatencyHistogram } from '../harness/latency-histogram.js';
import { interleave } from '../harness/rounds.js';
import { atMost, formatMs, type Section } from '../harness/section.js';
import { startService, startStandalone } from '../harness/servers.js';
import { median, spread } from '../harness/statistics.js';
import type { Suite, SuiteContext } from '../harness/suite.js';
import { forEachOf } from '../programs/fixtures.js';

const KICK_GOAL_MS = 200;
const KICKS_A_ROUND = 100;
/** Of other sessions, meanwhile. */
const CHANGES_PER_SECOND = 1_000;
const CHANGES_EVERY_MS = 10;
const CHANGED_SESSIONS = 2_000;
const TIMEOUT_MS = 10_000;

const IDLE = 'nothing else happens';
const BUSY = `${CHANGES_PER_SECOND.toLocaleString('en-US')} changes of other sessions a second`;
const NAMES = [IDLE, BUSY];

export const socketio: Suite = {
  name: 'socketio',
  run: async (context): Promise<Section> => {
    context.say('socketio: kicks');
    const samples = await measureKicks(context);
    const quantiles = (name: string, share: number): number[] =>
      (samples[name] ?? []).map((latencies) => latencies.quantileMs(share));
    return {
      title: 'Socket.IO: from a logout to the client’s disconnect',
      notes: [
        'Two service processes on one Redis. A Socket.IO server with shardkeepSessions goes through one; DestroyUserSessions is ' +
          'called through the other. Measured is the time from that call to the `disconnect` of a Socket.IO client over WebSocket, ' +
          `one user at a time, ${KICKS_A_ROUND} a round; server, client and caller are one process.`,
      ],
      goals: NAMES.map((name) => atMost(`p99 of a kick, ${name}`, KICK_GOAL_MS, spread(quantiles(name, 0.99)), ' ms')),
      tables: [
        {
          title: 'DestroyUserSessions on another process to the client’s disconnect',
          columns: ['while', 'p50 ms', 'p99 ms', 'most ms'],
          rows: NAMES.map((name) => [
            name,
            ...[0.5, 0.99].map((share) => formatMs(median(quantiles(name, share)))),
            formatMs(Math.max(...quantiles(name, 1))),
          ]),
        },
      ],
      plots: [],
    };
  },
};

async function measureKicks({ scope, pace }: SuiteContext): Promise<Readonly<Record<string, LatencyHistogram[]>>> {
  const redis = await startStandalone(scope);
  const policies = join(await scope.folder(), 'policies.yaml');
  await writeFile(policies, JSON.stringify({ rpc_limits: [] }));
  const env = { POLICIES_FILE: policies };
  const [near, far] = [await startService(scope, { redis, env }), await startService(scope, { redis, env })];
  const open = (address: string): Sessions => {
    const client = connect(address, { timeoutMs: TIMEOUT_MS });
    scope.onClose(() => client.close());
    return client.sessions;
  };
  const elsewhere = open(far.address);

  const http = createServer();
  const io = new Server(http);
  const installed = shardkeepSessions(io, { client: { sessions: open(near.address) } });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const address = http.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  scope.onClose(async () => {
    installed.close();
    await io.close();
  });

  const changed = await logins(elsewhere, 'changed', CHANGED_SESSIONS);
  let round = 0;
  const measure = async (isBusy: boolean): Promise<LatencyHistogram> => {
    const stop = isBusy ? change(elsewhere, changed) : () => undefined;
    const players = await logins(elsewhere, `kicked-${round++}`, KICKS_A_ROUND);
    const latencies = new LatencyHistogram();
    for (const { userId, sessionToken } of players) {
      const socket = connectSocket(`http://127.0.0.1:${address.port}`, {
        ...{ transports: ['websocket'], forceNew: true, reconnection: false },
        auth: { sessionToken },
      });
      await connected(socket);
      const gone = new Promise<number>((resolve) => {
        socket.once('disconnect', () => {
          resolve(performance.now());
        });
      });
      const startedAt = performance.now();
      const [goneAt] = await Promise.all([gone, elsewhere.destroyUserSessions(userId)]);
      latencies.record(goneAt - startedAt);
    }
    stop();
    return latencies;
  };
  return interleave(pace.rounds, { [IDLE]: () => measure(false), [BUSY]: () => measure(true) });
}

interface Login {
  readonly userId: string;
  readonly sessionId: string;
  readonly sessionToken: string;
}

async function logins(sessions: Sessions, name: string, count: number): Promise<Login[]> {
  const created: Login[] = [];
  await forEachOf([...Array(count).keys()], async (index) => {
    const userId = `${name}-${index}`;
    const login = await sessions.createSession({ userId });
    if (login.status !== 'created') throw new Error(`not let in: ${login.status}`);
    created.push({ userId, sessionId: login.session.sessionId, sessionToken: login.sessionToken });
  });
  return created;
}

/** Changes them in turn, until it is stopped. */
function change(sessions: Sessions, changed: readonly Login[]): () => void {
  let count = 0;
  const timer = setInterval(() => {
    for (let index = 0; index < (CHANGES_PER_SECOND * CHANGES_EVERY_MS) / 1_000; index++) {
      const { sessionId } = changed[count++ % changed.length] ?? { sessionId: '' };
      sessions.updateSession(sessionId, { username: `name ${count}` }).catch((error: unknown) => {
        // the run ends with it
        throw error;
      });
    }
  }, CHANGES_EVERY_MS);
  return () => {
    clearInterval(timer);
  };
}

function connected(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('connect_error', reject);
  });
}
