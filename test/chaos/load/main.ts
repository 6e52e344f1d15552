import { connect } from '../../../src/client/index.js';
import { SeededRandom } from '../../support/seeded-random.js';
import { HistoryFile } from '../history.js';
import type { Actor, Role } from './actor.js';
import { CacheActor } from './cache-actor.js';
import { watchEventLoop } from './event-loop.js';
import { FencedStore } from './fenced-store.js';
import { HolderActor } from './holder-actor.js';
import { LimitActor } from './limit-actor.js';
import { LockActor } from './lock-actor.js';
import { Recorder, type Caller } from './recorder.js';
import { SessionActor } from './session-actor.js';
import { loadRequest, loadSettings, type LoadNews, type LoadSettings } from './settings.js';

/** The load as a process of its own, so that what its calls take is not the doing of whoever injects faults. */

const NEWS_MS = 100;
const LOCKS = 4;
const HELD_LOCKS = 3;
const COUNTERS = 4;

const settings = loadSettings.parse(JSON.parse(process.argv[2] ?? '{}'));
const file = new HistoryFile(settings.file);
const recorder = new Recorder(file);
const callers = callersOf(settings);
const bareCallers = bareCallersOf(settings);
const actors = actorsOf(settings);
const stopWatching = watchEventLoop(file);
const running = Promise.all(actors.map((actor) => actor.run()));
const news = setInterval(() => {
  tell({ news: 'calls', calls: recorder.calls });
}, NEWS_MS);

process.on('message', (message) => {
  void answer(loadRequest.parse(message));
});
// whoever started it is gone
process.on('disconnect', () => process.exit(1));

async function answer(request: ReturnType<typeof loadRequest.parse>): Promise<void> {
  switch (request) {
    case 'stop':
      for (const actor of actors) actor.stop();
      await running;
      tell({ news: 'stopped' });
      return;
    case 'verify':
      await Promise.all(actors.map((actor) => actor.verify()));
      file.flush();
      tell({ news: 'verified' });
      return;
    case 'quit':
      clearInterval(news);
      stopWatching();
      file.flush();
      process.exit(0);
  }
}

function tell(told: LoadNews): void {
  process.send?.(told);
}

function callersOf({ addresses, clientsEach, timeoutMs }: LoadSettings): Caller[] {
  return addresses.flatMap((address, service) =>
    Array.from({ length: clientsEach }, () => {
      const cache = { onReadError: 'throw', onWriteError: 'throw', circuit: { failures: 1_000_000 } } as const;
      return { service, client: connect(address, { timeoutMs, logger: false, cache }), timeoutMs, endedBy: 'client' };
    }),
  );
}

/** Clients without a clock: only the service ends their calls. */
function bareCallersOf({ addresses, serviceDeadlineMs }: LoadSettings): Caller[] {
  if (serviceDeadlineMs === undefined) return [];
  return addresses.map((address, service) => {
    const cache = { onReadError: 'throw', onWriteError: 'throw', circuit: { failures: 1_000_000 } } as const;
    const client = connect(address, { timeoutMs: Infinity, retry: { maxAttempts: 1 }, logger: false, cache });
    return { service, client, timeoutMs: serviceDeadlineMs, endedBy: 'service' };
  });
}

function actorsOf({ seed, restMs, actors: counts, addresses, staying }: LoadSettings): Actor[] {
  const random = new SeededRandom(seed);
  const ofActor = (index: number, all: readonly Caller[]): readonly Caller[] =>
    staying ? all.filter(({ service }) => service === (index + (index >> 2)) % addresses.length) : all;
  const roles = (kind: string, count: number, { patient = false } = {}): Role[] =>
    Array.from({ length: count }, (_, index) => ({
      name: `${kind}-${String(index)}`,
      random: new SeededRandom(random.below(2 ** 31)),
      // one of four has no clock of its own
      callers: ofActor(index, index % 4 === 3 && bareCallers.length > 0 && !patient ? bareCallers : callers),
      recorder,
      restMs,
    }));
  const names = (kind: string, count: number): string[] =>
    Array.from({ length: count }, (_, index) => `${kind}-${String(index)}`);
  const store = new FencedStore(file);
  const [locks, heldLocks, counters] = [names('lock', LOCKS), names('held', HELD_LOCKS), names('counter', COUNTERS)];
  const keys = names('number', counts.caches);
  return [
    ...roles('player', counts.sessions).map((role) => new SessionActor(role)),
    ...roles('locker', counts.locks).map((role) => new LockActor(role, { resources: locks, store })),
    // a lock that waits has no deadline of the service alone
    ...roles('holder', counts.holders, { patient: true }).map(
      (role) => new HolderActor(role, { resources: heldLocks, store }),
    ),
    ...roles('chatter', counts.limits).map((role) => new LimitActor(role)),
    ...roles('cacher', counts.caches).map(
      (role, index) => new CacheActor(role, { keys, ownKey: keys[index] ?? '', counters }),
    ),
  ];
}
