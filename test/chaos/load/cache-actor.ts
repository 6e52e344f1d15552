import { Actor, type Role } from './actor.js';

export interface CacheWork {
  /** Keys of all actors; each has one writer. */
  readonly keys: readonly string[];
  readonly ownKey: string;
  readonly counters: readonly string[];
}

const TTL_MS = 600_000;

/** Writes numbers that grow to its own key, reads those of the others, and counts with everybody. */
export class CacheActor extends Actor {
  private written = 0;

  constructor(
    role: Role,
    private readonly work: CacheWork,
  ) {
    super(role);
  }

  protected async step(): Promise<void> {
    const { keys, ownKey, counters } = this.work;
    const dice = this.random.next();
    if (dice < 0.25) await this.write(ownKey);
    else if (dice < 0.85) await this.read(this.random.pick(keys));
    else await this.increment(this.random.pick(counters));
  }

  override async verify(): Promise<void> {
    const { ownKey, counters } = this.work;
    await this.read(ownKey);
    for (const counter of counters) await this.count(counter);
  }

  private async write(key: string): Promise<void> {
    const n = ++this.written;
    await this.call('cache.set', {
      details: { key, n },
      perform: (client) => client.cache.set(key, { key, n }, { ttlMs: TTL_MS }),
      read: () => ({ status: 'stored' }),
    });
  }

  private async read(key: string): Promise<void> {
    await this.call('cache.get', {
      details: { key },
      perform: (client) => client.cache.get<{ readonly key: string; readonly n: number }>(key),
      read: (value) =>
        value === undefined ? { status: 'missing' } : { status: value.key === key ? 'found' : 'foreign', n: value.n },
    });
  }

  private async increment(key: string): Promise<void> {
    await this.call('cache.increment', {
      details: { key },
      perform: (client) => client.cache.increment(key, 1, { ttlMs: TTL_MS }),
      read: (n) => ({ status: 'counted', n }),
    });
  }

  private async count(key: string): Promise<void> {
    await this.verified('cache.count', {
      details: { key },
      perform: (client) => client.cache.increment(key, 0, { ttlMs: TTL_MS }),
      read: (n) => ({ status: 'found', n }),
    });
  }
}
