import type { NodeCommand, StandaloneTarget } from './connection.js';
import type { MasterLocator } from './master-locator.js';
import { checkIsMaster } from './node-report.js';

/** One address. What answers there may change, so it is asked for its rank after it said that it is a replica. */
export class FixedLocator implements MasterLocator {
  private isSuspect = false;

  constructor(private readonly target: StandaloneTarget) {}

  locate(): Promise<StandaloneTarget> {
    return Promise.resolve(this.target);
  }

  async admit(server: NodeCommand): Promise<void> {
    if (!this.isSuspect) return;
    await checkIsMaster(server);
    this.isSuspect = false;
  }

  distrust(): void {
    this.isSuspect = true;
  }

  close(): void {
    // nobody is called back
  }
}
