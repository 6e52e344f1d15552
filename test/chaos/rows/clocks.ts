import { canCompile } from '../../support/clocked-redis.js';
import type { Expectations } from '../history.js';
import type { Row } from '../row.js';
import type { Setup } from '../setup.js';
import type { World } from '../world.js';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const JUMPED_MS = 3_000;

const skip = (): string | undefined => (canCompile() ? undefined : 'no compiler for the library that sets clocks');

async function jump(world: World, offsetMs: number): Promise<void> {
  await world.fault(`the clock jumps by ${String(offsetMs / 1_000)} s`, {
    inject: () => {
      world.clock.runAt(offsetMs);
    },
    forMs: JUMPED_MS,
    undo: () => undefined,
  });
}

function jumps(id: string, what: string, { setup, expect, offsetMs }: Jump): Row {
  return { id, what, setup: { servicesLive: true, ...setup }, expect, skip, inject: (world) => jump(world, offsetMs) };
}

interface Jump {
  readonly setup: Setup;
  readonly expect: Partial<Expectations>;
  readonly offsetMs: number;
}

/** A clock that jumps ahead ends leases, and moves every window. */
const LEASES_END: Partial<Expectations> = {
  ...{ holdersMayOverlap: true, limitResets: 1 },
  ...{ mayFailWith: [], recoveryMs: 0 },
};
const NOTHING_SEEN: Partial<Expectations> = { mayFailWith: [], recoveryMs: 0 };

/** F12 and F13: the clocks of Redis and of the services jump, and stay where they are. */
export const clockJumps: readonly Row[] = [
  jumps('F12-ahead', "Redis's clock jumps 5 minutes ahead, less than anything of the load lives but leases", {
    setup: { steppedClock: true },
    expect: LEASES_END,
    offsetMs: 5 * MINUTE_MS,
  }),
  jumps('F12-back', "Redis's clock jumps 5 minutes back", {
    setup: { steppedClock: true },
    expect: { ...NOTHING_SEEN, limitResets: 1 },
    offsetMs: -5 * MINUTE_MS,
  }),
  jumps('F13-ahead', 'the clock of both services jumps an hour ahead', {
    setup: { steppedServiceClock: true },
    expect: NOTHING_SEEN,
    offsetMs: HOUR_MS,
  }),
  jumps('F13-back', 'the clock of both services jumps an hour back', {
    setup: { steppedServiceClock: true },
    expect: NOTHING_SEEN,
    offsetMs: -HOUR_MS,
  }),
];
