import { performance } from 'node:perf_hooks';
import type { NodeInfo } from './node-report.js';
import type { Redis } from './redis.js';
import { mayEvict } from './node-report.js';

const SAMPLE_EVERY_MS = 10_000;
const READ_MS = 2_000;
/** What was told longer ago is no news any more. */
const STALE_AFTER_MS = 3 * SAMPLE_EVERY_MS;

/** What the masters of one Redis said of themselves. */
export interface ServerSample {
  readonly usedMemoryBytes: number;
  /** 0: a master has no limit. */
  readonly maxMemoryBytes: number;
  /** Of the fullest master; undefined where none has a limit. */
  readonly usedRatio: number | undefined;
  /** A master may evict what has to stay. */
  readonly mayEvict: boolean;
  readonly connectedClients: number;
}

/**
 * Asks a Redis about itself, every 10 s and when it comes back. What it evicts is added up here: a master that restarts or
 * goes begins anew, and so would a sum of what all of them say.
 */
export class ServerSampler {
  /** Keys that were evicted since this process looks. */
  evictedKeys = 0;
  /** What each master had evicted since its start when it was asked last. */
  private readonly evictedBy = new Map<string, number>();
  private sample: (ServerSample & { readonly takenAt: number }) | undefined;
  private timer: NodeJS.Timeout | undefined;
  private isAsked = false;

  constructor(private readonly redis: Pick<Redis, 'info' | 'isReady' | 'onStateChange'>) {
    redis.onStateChange((ready) => {
      if (ready) void this.look();
    });
  }

  start(): void {
    this.timer = setInterval(() => void this.look(), SAMPLE_EVERY_MS).unref();
  }

  close(): void {
    clearInterval(this.timer);
  }

  /** Undefined while Redis has said nothing for long. */
  get latest(): ServerSample | undefined {
    const { sample } = this;
    return sample !== undefined && performance.now() - sample.takenAt < STALE_AFTER_MS ? sample : undefined;
  }

  private async look(): Promise<void> {
    // a Redis that hangs is asked once
    if (this.isAsked || !this.redis.isReady) return;
    this.isAsked = true;
    const call = { namespace: '', deadlineAt: performance.now() + READ_MS, ended: false };
    try {
      const [memory, stats, clients] = await Promise.all(
        ['memory', 'stats', 'clients'].map((section) => this.redis.info(section, call)),
      );
      this.sample = { ...sampleOf(memory ?? [], clients ?? []), takenAt: performance.now() };
      for (const { address, fields } of stats ?? []) this.countEvicted(address, numberOf(fields, 'evicted_keys'));
    } catch {
      // it is logged where it happened, and the next look is soon
    } finally {
      this.isAsked = false;
    }
  }

  private countEvicted(address: string, total: number): void {
    const before = this.evictedBy.get(address);
    // a restarted one begins from 0 again
    if (before !== undefined) this.evictedKeys += total >= before ? total - before : total;
    this.evictedBy.set(address, total);
  }
}

function sampleOf(memory: readonly NodeInfo[], clients: readonly NodeInfo[]): ServerSample {
  const used = memory.map(({ fields }) => numberOf(fields, 'used_memory'));
  const limits = memory.map(({ fields }) => numberOf(fields, 'maxmemory'));
  const ratios = limits.flatMap((limit, at) => (limit === 0 ? [] : [(used[at] ?? 0) / limit]));
  return {
    usedMemoryBytes: sum(used),
    maxMemoryBytes: limits.includes(0) ? 0 : sum(limits),
    usedRatio: ratios.length === 0 ? undefined : Math.max(...ratios),
    mayEvict: memory.some(({ fields }) => mayEvict(fields.get('maxmemory_policy') ?? '')),
    connectedClients: sum(clients.map(({ fields }) => numberOf(fields, 'connected_clients'))),
  };
}

function numberOf(fields: ReadonlyMap<string, string>, name: string): number {
  const value = Number(fields.get(name) ?? 0);
  return Number.isFinite(value) ? value : 0;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
