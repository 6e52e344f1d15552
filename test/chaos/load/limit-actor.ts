import { randomUUID } from 'node:crypto';
import { Actor } from './actor.js';
import { LIMITS, type LimitName } from './policies.js';

const SUBJECTS = 2;
const RETRY_CHANCE = 0.1;

/** Asks for more than is allowed, of subjects that others ask for too. */
export class LimitActor extends Actor {
  protected async step(): Promise<void> {
    const policy = this.random.pick<LimitName>(['window', 'bucket']);
    const subject = `user:${policy}-${String(this.random.below(SUBJECTS))}`;
    if (!this.random.chance(RETRY_CHANCE)) return this.check(subject, policy, undefined);
    const requestId = randomUUID();
    await this.check(subject, policy, requestId);
    await this.check(subject, policy, requestId);
  }

  private async check(subject: string, policy: LimitName, requestId: string | undefined): Promise<void> {
    await this.call(`limit.${policy}`, {
      details: { key: subject, ...(requestId === undefined ? {} : { request: requestId }) },
      perform: (client) => client.rateLimits.check(subject, policy, requestId === undefined ? {} : { requestId }),
      read: ({ allowed, degraded, resetAtMs }) => ({
        status: degraded ? 'degraded' : allowed ? 'allowed' : 'denied',
        // nothing is in use a window after the newest unit, which is this one
        ...(allowed && resetAtMs !== undefined && policy === 'window'
          ? { redisMs: resetAtMs - LIMITS.window.windowMs }
          : {}),
      }),
    });
  }
}
