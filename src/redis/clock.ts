import { performance } from 'node:perf_hooks';
import type { NodeCommand } from './connection.js';
import { ReplyReader } from './reply.js';

const REFRESH_MS = 1_000;

/**
 * A copy of Redis's clock for *reporting* a remaining TTL and judging freshness of plain reads, never for a decision
 * that writes. Its error is at most half the round trip of the newest sample, plus what two hosts' clocks drift in a
 * second. It rests on the monotonic clock, so a step of this host's wall clock does not move it.
 */
export class RedisClock {
  private offsetMs: number | undefined;
  private timer: NodeJS.Timeout | undefined;
  /** Half the round trip of the newest sample. */
  errorMs = Number.POSITIVE_INFINITY;

  /** Takes a sample now. */
  async sample(node: NodeCommand): Promise<void> {
    const sentAt = performance.now();
    const reply = new ReplyReader(await node(['TIME']));
    const receivedAt = performance.now();
    const redisMs = reply.number() * 1_000 + reply.number() / 1_000;
    this.offsetMs = redisMs - (sentAt + receivedAt) / 2;
    this.errorMs = (receivedAt - sentAt) / 2;
  }

  /** Samples each second from now on; a failed sample keeps the older one. */
  start(node: NodeCommand): void {
    this.stop();
    let isAsked = false;
    this.timer = setInterval(() => {
      // a Redis that hangs is found out by a silent socket, and what is written to it counts as sound
      if (isAsked) return;
      isAsked = true;
      this.sample(node)
        .catch(() => undefined)
        .finally(() => {
          isAsked = false;
        });
    }, REFRESH_MS);
    this.timer.unref();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** Unix milliseconds of Redis's clock, about now. */
  nowMs(): number {
    return Math.round(performance.now() + (this.offsetMs ?? performance.timeOrigin));
  }
}
