import type { Logger } from 'pino';
import type { NodeCommand, SentinelTarget, StandaloneTarget } from '../connection.js';
import type { LocatorEvents, MasterLocator } from '../master-locator.js';
import { checkIsMaster } from '../node-report.js';
import { SentinelWatch } from './sentinel-watch.js';

interface SharedWatch {
  readonly watch: SentinelWatch;
  users: number;
}

/** The connections of a process to the same master share those to its sentinels. */
const shared = new Map<string, SharedWatch>();

/** The master that the sentinels tell of. */
export class SentinelLocator implements MasterLocator {
  private readonly id: string;
  private readonly watch: SentinelWatch;
  private readonly forget: () => void;
  private closed = false;

  constructor(target: SentinelTarget, logger: Logger, events: LocatorEvents) {
    this.id = JSON.stringify(target);
    const entry = shared.get(this.id) ?? { watch: new SentinelWatch(target, logger), users: 0 };
    entry.users++;
    shared.set(this.id, entry);
    this.watch = entry.watch;
    this.forget = this.watch.onSwitch(events.onSwitch);
  }

  locate(): Promise<StandaloneTarget> {
    return this.watch.locate();
  }

  /** A master that was deposed while it was away does not know it yet; one that sentinels have reached says so. */
  admit(server: NodeCommand): Promise<void> {
    return checkIsMaster(server);
  }

  distrust(): void {
    // the sentinels are asked again before the next connection, whatever the reason
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.forget();
    const entry = shared.get(this.id);
    if (entry === undefined || --entry.users > 0) return;
    shared.delete(this.id);
    entry.watch.close();
  }
}
