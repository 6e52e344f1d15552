import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { WatchResponse } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import { Watching } from './watch-support.js';

const ROUNDS = 30;
const WRITERS = 3;
const KEYS = Array.from({ length: 8 }, (_, index) => `race:${String(index)}`);

/** The cache that a caller keeps by the rules of the proto. */
class CallersCache {
  private readonly values = new Map<string, string>();
  /** Counts what was told of each key. */
  private readonly told = new Map<string, number>();
  private inForce = false;
  private looked = 0;
  reads = 0;

  constructor(
    private readonly service: TestService,
    private readonly watch: Watching,
  ) {}

  /** What it would answer now. */
  get(key: string): string | undefined {
    this.takeMessages();
    return this.values.get(key);
  }

  async load(key: string): Promise<void> {
    this.takeMessages();
    const before = this.told.get(key);
    const wasInForce = this.inForce;
    const { entry } = await this.service.cache.get({ key });
    this.reads++;
    this.takeMessages();
    if (wasInForce && this.inForce && this.told.get(key) === before) {
      this.values.set(key, entry?.value.toString() ?? 'nothing');
    }
  }

  private takeMessages(): void {
    const { messages } = this.watch.stream;
    while (this.looked < messages.length) this.take(messages[this.looked++]);
  }

  private take(message: WatchResponse | undefined): void {
    if (message === undefined) return;
    if (message.resync) for (const key of KEYS) this.drop(key);
    for (const key of message.keys) this.drop(key);
    this.inForce = message.requestsInForce > 0n;
  }

  private drop(key: string): void {
    this.values.delete(key);
    this.told.set(key, (this.told.get(key) ?? 0) + 1);
  }
}

onEachTopology('a cache that is fed by Watch', (service, topology) => {
  let other: TestService;
  beforeAll(async () => {
    other = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: service().namespace });
  });
  afterAll(async () => {
    await other.stop();
  });

  test.each([
    ['keys', { addKeys: KEYS }],
    ['a prefix', { addPrefixes: ['race:'] }],
  ])('of %s never keeps what another process has overwritten', async (_, request) => {
    const watch = await new Watching(service().channel).add(request);
    const cache = new CallersCache(service(), watch);
    let writing = true;
    const read = async (): Promise<void> => {
      while (writing) await Promise.all(KEYS.map((key) => cache.load(key)));
    };
    const write = async (writer: number, round: number): Promise<void> => {
      for (let index = 0; index < KEYS.length; index++) {
        const key = KEYS[(index + writer) % KEYS.length] ?? '';
        if ((round + index) % 7 === 0) await other.cache.delete({ keys: [key] });
        else await other.cache.set({ key, value: Buffer.from(`${String(round)} of ${String(writer)}`) });
      }
    };
    const reading = Promise.all([read(), read()]);
    let truth = new Map<string, string>();
    for (let round = 0; round < ROUNDS; round++) {
      await Promise.all(Array.from({ length: WRITERS }, (__, writer) => write(writer, round)));
      // nobody writes: whatever it holds of an older value must go by itself
      const { items } = await service().cache.getMany({ keys: KEYS });
      truth = new Map(items.map(({ key, entry }) => [key, entry?.value.toString() ?? 'nothing']));
      await until(() => KEYS.every((key) => [undefined, truth.get(key)].includes(cache.get(key))));
    }
    writing = false;
    await reading;
    await Promise.all(KEYS.map((key) => cache.load(key)));
    expect(cache.reads).toBeGreaterThan(KEYS.length);
    // and it does keep what stays as it is
    await until(() => KEYS.every((key) => cache.get(key) === truth.get(key)));
    watch.stream.cancel();
    await watch.stream.code();
  });

  test('a slow reader is told to read everything anew, not everything that changed', async () => {
    const watch = await new Watching(service().channel).add({ addPrefixes: ['slow:'] });
    watch.stream.pause();
    const count = 12_000;
    const value = Buffer.from('v');
    const name = (index: number): string => `slow:${String(index)}:${'x'.repeat(200)}`;
    for (let from = 0; from < count; from += 250) {
      const entries = Array.from({ length: 250 }, (_, index) => ({ key: name(from + index), value }));
      await other.cache.setMany({ entries: entries.map((entry) => ({ ...noOptions, ...entry })) });
    }
    watch.stream.resume();
    await watch.until(({ resync }) => resync);
    expect(watch.toldKeys.length).toBeLessThan(count);
    await other.cache.set({ key: 'slow:last', value });
    await watch.untilKey('slow:last');
    watch.stream.cancel();
    await watch.stream.code();
  });
});

const noOptions = {
  expiry: undefined,
  condition: undefined,
  tags: [],
  jitterPercent: 0,
  guard: undefined,
};
