import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from '@jest/globals';
import { killServiceProcesses, startServiceProcess } from '../../support/service-process.js';
import { randomNamespace, sharedRedisUrl, TOPOLOGIES } from '../../support/service.js';

/** Four game servers, each beside a service of its own, and one key that all of them miss. */

const CALLER = fileURLToPath(new URL('../../support/cache-aside-caller.ts', import.meta.url));
const PROCESSES = 4;
const CALLS = 250;

interface Outcome {
  readonly loads: number;
  readonly values: readonly string[];
}

afterEach(killServiceProcesses);

test.each(TOPOLOGIES)('1,000 calls of cacheAside in 4 processes make one load on %s', async (topology) => {
  const env = { REDIS_URL: sharedRedisUrl(topology), NAMESPACE: randomNamespace() };
  const services = await Promise.all(Array.from({ length: PROCESSES }, () => startServiceProcess(env)));
  const callers = services.map(({ address }) =>
    fork(CALLER, [address, 'hot', String(CALLS)], { execArgv: ['--import', 'tsx'] }),
  );
  try {
    await Promise.all(callers.map((caller) => once(caller, 'message')));
    const outcomes: Outcome[] = [];
    let asked = 0;
    const loading: typeof callers = [];
    await new Promise<void>((resolve) => {
      for (const caller of callers) {
        caller.on('message', (message: 'loading' | 'asked' | Outcome) => {
          if (message === 'asked') asked++;
          else if (message === 'loading') loading.push(caller);
          else outcomes.push(message);
          // the loader may end when everybody is there
          if (asked === PROCESSES) for (const loader of loading.splice(0)) loader.send('go on');
          if (outcomes.length === PROCESSES) resolve();
        });
        caller.send('start');
      }
    });
    expect(outcomes.reduce((sum, { loads }) => sum + loads, 0)).toBe(1);
    const values = new Set(outcomes.flatMap((outcome) => outcome.values));
    expect(values.size).toBe(1);
    expect(outcomes.every((outcome) => outcome.values.length === 1)).toBe(true);
  } finally {
    for (const caller of callers) caller.kill('SIGKILL');
  }
});
