import type { ResyncEvent, SessionEvent, SessionWatch } from '../../../src/client/index.js';
import { until } from '../../support/redis-server.js';

/** Reads a watch to its end, and keeps what it was told. */
export class WatchListener {
  readonly events: (SessionEvent | ResyncEvent)[] = [];
  /** Resolves when the loop has ended by itself; rejects with what it threw. */
  readonly ended: Promise<void>;

  constructor(readonly watch: SessionWatch) {
    this.ended = this.listen();
    this.ended.catch(() => undefined);
  }

  /** Waits until so many events were told, and answers them as type and session, to compare. */
  async untilBrief(count: number): Promise<string[]> {
    await until(() => this.events.length >= count);
    return this.events.map(brief);
  }

  async untilTold(event: string): Promise<void> {
    await until(() => this.events.map(brief).includes(event));
  }

  private async listen(): Promise<void> {
    for await (const event of this.watch) this.events.push(event);
  }
}

export function brief(event: SessionEvent | ResyncEvent): string {
  return event.type === 'resync' ? 'resync' : `${event.type} ${event.sessionId}`;
}
