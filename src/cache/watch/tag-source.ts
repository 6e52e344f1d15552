import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Call } from '../../redis/call.js';
import { keys } from '../../redis/keys.js';
import type { Redis } from '../../redis/redis.js';
import type { KeyTracking } from '../../redis/tracking.js';
import { readTagsScript } from '../tag-scripts.js';
import type { ChangeSink, Topic, TopicSource } from '../../redis/watch/topic.js';

const PAGE_MEMBERS = 5_000;
const READ_MS = 5_000;
const RETRY_MS = 250;
/** In place of the clock of a table that is not there. */
const NO_TABLE = 0;
/** How often the table is looked at while its changes cannot be told. */
const LOOK_AGAIN_MS = 100;

/** Tags, by the clock of the tag table (`lua/lib/tag-table.lua`) of each namespace in which one is watched. */
export class TagSource implements TopicSource {
  private readonly tables = new Map<string, WatchedTable>();

  constructor(
    private readonly redis: Redis,
    private readonly tracking: Pick<KeyTracking, 'read'>,
    private readonly sink: ChangeSink,
  ) {}

  open(topic: Topic): void {
    const { namespace } = tagOf(topic);
    let table = this.tables.get(namespace);
    if (table === undefined) {
      table = new WatchedTable(namespace, this.redis, this.tracking, this.sink);
      this.tables.set(namespace, table);
    }
    table.add(topic);
  }

  close(topic: Topic): void {
    const { namespace } = tagOf(topic);
    const table = this.tables.get(namespace);
    if (table?.remove(topic) === false) this.tables.delete(namespace);
  }
}

function tagOf({ name }: Topic): { readonly namespace: string; readonly tag: string } {
  const separator = name.indexOf(':');
  return { namespace: name.slice(0, separator), tag: name.slice(separator + 1) };
}

class WatchedTable {
  /** By tag. */
  private readonly topics = new Map<string, Topic>();
  private readonly key: string;
  /** All invalidations up to this tick are told; undefined: they are not followed now. */
  private toldUpTo: number | undefined;
  private closed = false;
  private wake: () => void = () => undefined;

  constructor(
    private readonly namespace: string,
    private readonly redis: Redis,
    private readonly tracking: Pick<KeyTracking, 'read'>,
    private readonly sink: ChangeSink,
  ) {
    this.key = keys.tags(namespace);
    void this.follow();
  }

  add(topic: Topic): void {
    this.topics.set(tagOf(topic).tag, topic);
    if (this.toldUpTo !== undefined) this.sink.armed(topic);
  }

  /** Answers whether there is another one. */
  remove(topic: Topic): boolean {
    this.topics.delete(tagOf(topic).tag);
    if (this.topics.size > 0) return true;
    this.closed = true;
    this.wake();
    return false;
  }

  private async follow(): Promise<void> {
    let stop = (): void => undefined;
    while (!this.closed) {
      const changed = new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      try {
        const read = await this.tracking.read(this.key, this.wake, ['ZSCORE', this.key, 'clock']);
        stop = read.stop;
        await this.tellUpTo(read.value === null ? NO_TABLE : Number(read.value));
        await (read.tracked ? changed : sleep(LOOK_AGAIN_MS, undefined, { ref: false }));
      } catch {
        stop();
        this.lose();
        await sleep(RETRY_MS, undefined, { ref: false });
      }
    }
    stop();
  }

  private async tellUpTo(clock: number): Promise<void> {
    // a table that lost its end, or is gone: no entry lives that has a tag, and nobody knows what was invalidated
    if (this.toldUpTo !== undefined && clock < this.toldUpTo) this.lose();
    while (this.toldUpTo !== undefined && this.toldUpTo < clock) await this.tellPage(this.toldUpTo);
    this.begin(clock);
  }

  private async tellPage(since: number): Promise<void> {
    const call: Call = { namespace: this.namespace, deadlineAt: performance.now() + READ_MS, ended: false };
    const args = { since: String(since), limit: String(PAGE_MEMBERS) };
    const changes = await this.redis.run(readTagsScript.bind({ tags: this.key }, args), call);
    // some of them may have been trimmed; the floor of a new table is where it began
    if (changes === undefined || (changes.floor > since && since !== NO_TABLE)) {
      this.lose();
      return;
    }
    this.toldUpTo = changes.upTo;
    for (const { member } of changes.members) {
      const tag = member.slice(1);
      if (!this.topics.has(tag)) continue;
      this.sink.changed({
        kind: 'tag',
        namespace: this.namespace,
        tag,
        mode: member.startsWith('h') ? 'hard' : 'soft',
      });
    }
  }

  private begin(clock: number): void {
    this.toldUpTo ??= clock;
    for (const topic of this.topics.values()) if (topic.since === undefined) this.sink.armed(topic);
  }

  private lose(): void {
    this.toldUpTo = undefined;
    for (const topic of this.topics.values()) if (topic.since !== undefined) this.sink.lost(topic);
  }
}
