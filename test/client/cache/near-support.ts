import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connect, type ShardkeepClient } from '../../../src/client/index.js';
import { NearCache, type NearCacheOptions } from '../../../src/client/cache/near/near-cache.js';
import type { WatchCall, WatchRpc } from '../../../src/client/cache/near/change-feed.js';
import { SILENT, type Logger } from '../../../src/client/logger.js';
import type { Entry, WatchRequest, WatchResponse } from '../../../src/gen/shardkeep/cache/v1/cache.js';
import type { Mutation } from '../../support/mutant.js';
import { until } from '../../support/redis-server.js';

/** A client with a near cache, as its readers see it. */

export const bytes = (text: string): Buffer => Buffer.from(text);
export const lasting = { $case: 'noExpiry', value: true } as const;
export const forMs = (value: number): { $case: 'ttlMs'; value: bigint } => ({ $case: 'ttlMs', value: BigInt(value) });

const MISS = 'miss';

/** Of src, or of a build from which a guard was taken out. */
export type NearCacheClass = new (
  ...args: ConstructorParameters<typeof NearCache>
) => Pick<
  NearCache,
  'get' | 'begin' | 'keep' | 'getMany' | 'forget' | 'forgetTags' | 'forgetAll' | 'held' | 'stats' | 'close'
>;

const DIST = fileURLToPath(new URL('../../../dist', import.meta.url));
const FOLDER = 'client/cache/near';

/** The near cache of the build, from which guards were taken: what a test must tell from the product, or it tests nothing. */
export async function nearCacheWithout(mutations: readonly Mutation[]): Promise<NearCacheClass> {
  const copy = join(mkdtempSync(join(tmpdir(), 'shardkeep-test-mutant-')), 'dist');
  cpSync(join(DIST, FOLDER), join(copy, FOLDER), { recursive: true });
  for (const name of ['gen', 'wire', 'client/errors.js']) symlinkSync(join(DIST, name), join(copy, name));
  for (const name of ['node_modules', 'package.json']) symlinkSync(join(DIST, '..', name), join(copy, '..', name));
  for (const { file, from, to } of mutations) {
    const path = join(copy, FOLDER, file);
    const text = readFileSync(path, 'utf8');
    if (text.split(from).length !== 2) throw new Error(`"${from}" is not once in ${file}`);
    writeFileSync(path, text.replace(from, to));
  }
  const module = (await import(join(copy, FOLDER, 'near-cache.js'))) as { readonly NearCache: NearCacheClass };
  rmSync(join(copy, '..'), { recursive: true });
  return module.NearCache;
}

export interface NearClientOptions extends NearCacheOptions {
  readonly NearCacheClass?: NearCacheClass;
  readonly logger?: Logger;
}

export class NearClient {
  readonly client: ShardkeepClient;
  readonly gate: WatchGate;
  readonly near: InstanceType<NearCacheClass>;
  /** Keys that were read at the service. */
  loads = 0;
  /** What every read waits for that comes back from the service. */
  private landing: Promise<void> = Promise.resolve();
  private onArrived = (): void => undefined;

  constructor(address: string, { NearCacheClass = NearCache, logger = SILENT, ...options }: NearClientOptions = {}) {
    this.client = connect(address, { logger: false, timeoutMs: 30_000, retry: { maxAttempts: 1 } });
    this.gate = new WatchGate(this.client.rpc.cache);
    this.near = new NearCacheClass(this.gate, options, logger);
  }

  entry(key: string, timeoutMs = 30_000): Promise<Entry | undefined> {
    return this.near.get(key, async () => {
      this.loads++;
      const { entry } = await this.client.rpc.cache.get({ key }, { timeoutMs });
      this.onArrived();
      await this.landing;
      return entry;
    });
  }

  async get(key: string, timeoutMs?: number): Promise<string> {
    return textOf(await this.entry(key, timeoutMs));
  }

  async getMany(keys: readonly string[]): Promise<string[]> {
    const entries = await this.near.getMany(keys, async (asked) => {
      this.loads += asked.length;
      const { items } = await this.client.rpc.cache.getMany({ keys: [...asked] });
      return items.map(({ entry }) => entry);
    });
    return entries.map(textOf);
  }

  /** Reads a key until its answer comes from memory, and answers that. */
  async remember(key: string): Promise<string> {
    let answer = MISS;
    await until(async () => {
      const { loads } = this;
      answer = await this.get(key);
      return this.loads === loads;
    });
    return answer;
  }

  /** Reads a key until it is answered with that. */
  untilReads(key: string, value: string): Promise<void> {
    return until(async () => (await this.get(key)) === value);
  }

  /** Begins a read; what the service answers is held back until `land`. */
  async readOnItsWay(key: string): Promise<{ land(): Promise<string> }> {
    let open: () => void = () => undefined;
    this.landing = new Promise((resolve) => {
      open = resolve;
    });
    const arrived = new Promise<void>((resolve) => {
      this.onArrived = resolve;
    });
    const answer = this.get(key);
    await arrived;
    return {
      land: () => {
        this.landing = Promise.resolve();
        open();
        return answer;
      },
    };
  }

  async close(): Promise<void> {
    this.near.close();
    await this.client.close();
  }
}

export function textOf(entry: Entry | undefined): string {
  return entry === undefined ? MISS : entry.value.toString();
}

/** Stands between a near cache and Watch, and holds back what a test wants. */
export class WatchGate implements WatchRpc {
  streams = 0;
  /** All that the service has said. */
  readonly said: WatchResponse[] = [];
  /** The most names that the client watched at any time, by what it sent on its latest stream. */
  mostWatched = 0;
  private readonly watched = new Set<string>();
  private isHolding: (message: WatchResponse) => boolean = () => false;
  private readonly held: { readonly message: WatchResponse; readonly pass: () => void }[] = [];
  private change: (message: WatchResponse) => WatchResponse = (message) => message;
  private heldRequests: (() => void)[] | undefined;
  private call: WatchCall | undefined;
  private notify: () => void = () => undefined;

  constructor(private readonly rpc: WatchRpc) {}

  watch(): WatchCall {
    this.streams++;
    this.watched.clear();
    const call = this.rpc.watch();
    this.call = call;
    const through = new PassThrough<WatchResponse>();
    void this.forward(call, through);
    return {
      write: (request) => this.write(call, request),
      cancel: () => {
        call.cancel();
      },
      [Symbol.asyncIterator]: () => through,
    };
  }

  /** From now on messages that match wait, and so do no others. */
  hold(matches: (message: WatchResponse) => boolean): void {
    this.isHolding = matches;
  }

  /** Messages come to the client as this makes them. */
  rewrite(change: (message: WatchResponse) => WatchResponse): void {
    this.change = change;
  }

  /** Passes on what was held, and goes on holding what matches. */
  releaseBut(matches: (message: WatchResponse) => boolean): void {
    this.isHolding = matches;
    for (const each of this.held.splice(0)) {
      if (matches(each.message)) this.held.push(each);
      else each.pass();
    }
  }

  /** The service has said something like that, whether it was passed on or not. */
  untilSaid(matches: (message: WatchResponse) => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.notify = () => {
        if (this.said.some(matches)) resolve();
      };
      this.notify();
    });
  }

  holdRequests(): void {
    this.heldRequests = [];
  }

  releaseRequests(): void {
    const held = this.heldRequests ?? [];
    this.heldRequests = undefined;
    for (const send of held) send();
  }

  /** The stream breaks. */
  cut(): void {
    this.call?.cancel();
  }

  private write(call: WatchCall, request: Partial<WatchRequest>): boolean {
    const { addKeys = [], removeKeys = [], addTags = [], removeTags = [] } = request;
    for (const name of [...removeKeys, ...removeTags]) this.watched.delete(name);
    for (const name of [...addKeys, ...addTags]) this.watched.add(name);
    this.mostWatched = Math.max(this.mostWatched, this.watched.size);
    if (this.heldRequests === undefined) return call.write(request);
    this.heldRequests.push(() => call.write(request));
    return true;
  }

  private async forward(call: WatchCall, through: PassThrough<WatchResponse>): Promise<void> {
    try {
      for await (const message of call) {
        this.said.push(message);
        const pass = (): void => {
          through.push(this.change(message));
        };
        if (this.isHolding(message)) this.held.push({ message, pass });
        else pass();
        this.notify();
      }
      through.end(undefined);
    } catch (error) {
      through.end(error);
    }
  }
}

/** What is pushed comes out of the iterator. */
class PassThrough<Message> implements AsyncIterator<Message, undefined> {
  private readonly messages: Message[] = [];
  private isEnded = false;
  private failure: unknown;
  private wake: () => void = () => undefined;

  push(message: Message): void {
    this.messages.push(message);
    this.wake();
  }

  end(failure: unknown): void {
    this.isEnded = true;
    this.failure = failure;
    this.wake();
  }

  async next(): Promise<IteratorResult<Message, undefined>> {
    for (;;) {
      const value = this.messages.shift();
      if (value !== undefined) return { done: false, value };
      if (this.failure !== undefined) throw this.failure as Error;
      if (this.isEnded) return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }
}
