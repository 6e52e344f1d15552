import { performance } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { KeyTracking } from '../tracking.js';
import type { ChangeSink, Topic, TopicSource } from './topic.js';

/** A key that is looked after. */
interface WatchedKey {
  readonly topic: Topic;
  /** When Redis was last asked to tell of the next change, on the clock of `performance.now()`. */
  askedAt: number;
  /** Whether it is to be asked for, or that is on its way. */
  isAsked: boolean;
  stop: () => void;
}

/** So many keys are asked for at once. */
const MAX_ASKED = 512;
/** A key that changes all the time is told so often. */
const REST_MS = 2;
/** How often a key is told as changed while its changes cannot be told. */
const LOOK_AGAIN_MS = 100;
const RETRY_MS = 250;
/** While Redis is away so many keys are tried again at a time. */
const MAX_TRIED_AGAIN = 256;

/**
 * Single keys, by OPTIN tracking. Redis tells of one change after each read; so a change is told when the next read is
 * through: one that comes in between is part of it, one that comes later is told by Redis.
 */
export class KeySource implements TopicSource {
  private readonly keys = new Map<Topic, WatchedKey>();
  /** In turn; those before `nextWaiting` are done. A Set would be walked past all that was taken from it, again and again. */
  private waiting: WatchedKey[] = [];
  private nextWaiting = 0;
  private asked = 0;
  private readonly lost = new Set<WatchedKey>();
  /** Whether all that are lost are tried again, since one was found. */
  private triesAll = false;
  private retryTimer: NodeJS.Timeout | undefined;

  constructor(
    private readonly tracking: Pick<KeyTracking, 'read'>,
    private readonly sink: ChangeSink,
  ) {}

  open(topic: Topic): void {
    const watched: WatchedKey = { topic, askedAt: 0, isAsked: false, stop: () => undefined };
    this.keys.set(topic, watched);
    this.askInTurn(watched);
  }

  close(topic: Topic): void {
    const watched = this.keys.get(topic);
    if (watched === undefined) return;
    this.keys.delete(topic);
    this.lost.delete(watched);
    watched.stop();
  }

  private isOpen(watched: WatchedKey): boolean {
    return this.keys.get(watched.topic) === watched;
  }

  private askInTurn(watched: WatchedKey): void {
    if (watched.isAsked || !this.isOpen(watched)) return;
    watched.isAsked = true;
    this.waiting.push(watched);
    this.askNext();
  }

  private askNext(): void {
    while (this.asked < MAX_ASKED) {
      const watched = this.waiting[this.nextWaiting++];
      if (watched === undefined) {
        this.waiting = [];
        this.nextWaiting = 0;
        return;
      }
      if (!this.isOpen(watched)) continue;
      this.asked++;
      void this.ask(watched).finally(() => {
        this.asked--;
        this.askNext();
      });
    }
  }

  private async ask(watched: WatchedKey): Promise<void> {
    const { topic } = watched;
    watched.askedAt = performance.now();
    const seen = { answered: false, changed: false };
    const onChange = (): void => {
      seen.changed = true;
      if (seen.answered) this.askAgain(watched, REST_MS);
    };
    try {
      // EXISTS takes a key of any kind, and its answer is small
      const { tracked, stop } = await this.tracking.read(topic.name, onChange, ['EXISTS', topic.name]);
      if (!this.isOpen(watched)) {
        stop();
        return;
      }
      watched.stop = stop;
      watched.isAsked = false;
      seen.answered = true;
      if (topic.since === undefined) this.found(watched);
      else this.sink.changed({ kind: 'key', topics: 'key', name: topic.name });
      if (!tracked) this.askAgain(watched, LOOK_AGAIN_MS);
      else if (seen.changed) this.askAgain(watched, REST_MS);
    } catch {
      watched.isAsked = false;
      if (this.isOpen(watched)) this.lose(watched);
      // what is asked of a Redis that is away fails at once: in between, others must have their turn
      await nextTurn();
    }
  }

  private askAgain(watched: WatchedKey, restMs: number): void {
    const leftMs = watched.askedAt + restMs - performance.now();
    if (leftMs <= 0) {
      this.askInTurn(watched);
      return;
    }
    setTimeout(() => {
      this.askInTurn(watched);
    }, leftMs).unref();
  }

  private found(watched: WatchedKey): void {
    this.sink.armed(watched.topic);
    if (!this.lost.delete(watched) || this.triesAll) return;
    // where one can be asked for, the others may be too; not for each of them anew
    this.triesAll = true;
    for (const other of this.lost) this.askInTurn(other);
  }

  private lose(watched: WatchedKey): void {
    if (watched.topic.since !== undefined) this.sink.lost(watched.topic);
    this.lost.add(watched);
    this.retryLater();
  }

  private retryLater(): void {
    this.retryTimer ??= setTimeout(() => {
      this.retryTimer = undefined;
      this.retry();
    }, RETRY_MS).unref();
  }

  private retry(): void {
    this.triesAll = false;
    const tried = [...this.lost].slice(0, MAX_TRIED_AGAIN);
    for (const watched of tried) {
      // to the end, so that all have their turn
      this.lost.delete(watched);
      this.lost.add(watched);
      this.askInTurn(watched);
    }
    // also where those that are tried are watched no more when the answer comes
    if (this.lost.size > 0) this.retryLater();
  }
}
