import { describe } from '@jest/globals';
import { RedisClock } from '../../src/redis/clock.js';
import type { NodeCommand } from '../../src/redis/connection.js';
import { canCompile } from './clocked-redis.js';

export { startClockedRedis, SteppedClock, type ClockedRedis } from './clocked-redis.js';

/** Where no compiler makes the library, these tests are skipped, and counted as such. */
export const describeWithRedisClock = canCompile() ? describe : describe.skip;

/**
 * The copies of Redis's clock that the services of this process keep, of those that were started since. They are refreshed
 * each second, so for that long a plain read goes by the time before a step; `sample` refreshes them now.
 */
export class ServiceClocks {
  private readonly copies: { readonly clock: RedisClock; readonly node: NodeCommand }[] = [];

  constructor() {
    const { copies } = this;
    // eslint-disable-next-line @typescript-eslint/unbound-method -- called with its own `this` below
    const { start } = RedisClock.prototype;
    RedisClock.prototype.start = function (this: RedisClock, node: NodeCommand): void {
      copies.push({ clock: this, node });
      start.call(this, node);
    };
  }

  async sample(): Promise<void> {
    await Promise.all(this.copies.map(({ clock, node }) => clock.sample(node)));
  }
}
