import type { NetworkMode } from '../fault-proxy.js';
import type { Expectations } from '../history.js';
import type { Row } from '../row.js';

const FAULT_MS = 3_000;

function network(id: string, what: string, { mode, ...expect }: { mode: NetworkMode } & Partial<Expectations>): Row {
  return {
    id,
    what: `between the services and Redis for 3 s: ${what}`,
    setup: { servicesLive: true, network: true },
    expect,
    inject: async (world) => {
      const before = world.network.connections;
      await world.fault(mode.kind, {
        inject: () => {
          world.network.set(mode);
        },
        forMs: FAULT_MS,
        undo: () => {
          world.network.set({ kind: 'pass' });
        },
      });
      world.figure('connections tried', world.network.connections - before);
    },
  };
}

function slow(id: string, oneWayMs: number, expect: Partial<Expectations>): Row {
  const what = `each answer ${String(2 * oneWayMs)} ms later, give or take 40 %`;
  return network(id, what, { mode: { kind: 'slow', delayMs: oneWayMs, jitterMs: 0.4 * oneWayMs }, ...expect });
}

/** F7 and F8: the network between the services and Redis. */
export const networkFaults: readonly Row[] = [
  network('F7-blackhole', 'nothing arrives, no connection breaks', { mode: { kind: 'blackhole' } }),
  network('F7-refuse', 'connections break, new ones are refused', { mode: { kind: 'refuse' } }),
  network('F7-half-open', "Redis's end is gone, the services are not told", { mode: { kind: 'half_open' } }),
  network('F7-mid-reply', 'connections break 10 bytes into an answer', { mode: { kind: 'cut_mid_reply', bytes: 10 } }),
  network('F7-after-request', 'requests arrive, connections break before the answer', {
    mode: { kind: 'cut_after_request' },
  }),
  slow('F8-5ms', 2.5, { mayFailWith: [], recoveryMs: 0 }),
  slow('F8-50ms', 25, { mayFailWith: [], recoveryMs: 0 }),
  slow('F8-500ms', 250, {}),
  network('F8-narrow', '100 kbit/s', { mode: { kind: 'narrow', bytesPerSecond: 12_500 } }),
];
