import type { Entry } from '../../../gen/shardkeep/cache/v1/cache.js';
import type { CallOptions } from '../../transport/method.js';
import type { EntrySource } from '../entries.js';
import type { NearCache } from './near-cache.js';

/** Entries of a near cache, or of the service behind it, which must be asked with READ_MASTER. */
export class NearSource implements EntrySource {
  constructor(
    private readonly near: NearCache,
    private readonly service: EntrySource,
  ) {}

  async get(key: string, options: CallOptions): Promise<Entry | undefined> {
    if (mayShare(options)) return this.near.get(key, (asked) => this.service.get(asked, options));
    const held = this.near.held(key);
    if (held !== undefined) return held.entry;
    const reading = this.near.begin(key);
    const entry = await this.service.get(key, options);
    this.near.keep(reading, entry);
    return entry;
  }

  async getMany(keys: readonly string[], options: CallOptions): Promise<readonly (Entry | undefined)[]> {
    if (mayShare(options)) return this.near.getMany(keys, (asked) => this.service.getMany(asked, options));
    const answers = keys.map((key) => this.near.held(key));
    const asked = keys.filter((_, index) => answers[index] === undefined);
    if (asked.length === 0) return answers.map((held) => held?.entry);
    const readings = asked.map((key) => this.near.begin(key));
    const entries = await this.service.getMany(asked, options);
    for (const [index, reading] of readings.entries()) this.near.keep(reading, entries[index]);
    const loaded = entries.values();
    return answers.map((held) => (held === undefined ? loaded.next().value : held.entry));
  }
}

/** Whoever waits as long as everybody else may wait together with them. */
function mayShare({ timeoutMs, signal }: CallOptions): boolean {
  return timeoutMs === undefined && signal === undefined;
}
