import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import type { Call } from '../redis/call.js';
import type { SweepStore } from './sweep-store.js';

/** When a process that has the lease is gone, another one has it after at most LEASE_MS and 1.25 of TRY_EVERY_MS. */
const LEASE_MS = 4_000;
const RENEW_EVERY_MS = 1_000;
const TRY_EVERY_MS = 2_500;
const RETRY_MS = 500;
const ASK_MS = 1_000;
const TOKEN_BYTES = 9;

/**
 * Makes one of any number of processes the one that sweeps, so that many idle ones cost Redis no more than one. Nothing
 * else rests on it: where two take themselves for the one, they do the same work twice.
 */
export class SweepLease {
  private readonly token = randomBytes(TOKEN_BYTES).toString('base64url');
  private held = false;
  private askAt = 0;

  constructor(
    private readonly store: SweepStore,
    private readonly namespace: string,
  ) {}

  /** Whether it is this process; asks Redis when it is time to. */
  async isMine(): Promise<boolean> {
    if (performance.now() < this.askAt) return this.held;
    try {
      this.held = await this.store.renewLease(this.token, LEASE_MS, this.call());
      this.askAt = performance.now() + (this.held ? RENEW_EVERY_MS : TRY_EVERY_MS * (0.75 + Math.random() / 2));
    } catch {
      // what went wrong is logged already; while Redis does not say who has it, nobody else gets it
      this.askAt = performance.now() + RETRY_MS;
    }
    return this.held;
  }

  /** So that another process has it soon. Never fails: it runs out by itself. */
  async giveUp(): Promise<void> {
    if (!this.held) return;
    this.held = false;
    await this.store.renewLease(this.token, 0, this.call()).catch(() => undefined);
  }

  private call(): Call {
    return { namespace: this.namespace, deadlineAt: performance.now() + ASK_MS, ended: false };
  }
}
