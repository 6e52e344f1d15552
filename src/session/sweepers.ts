import type { Sweeper } from './sweeper.js';

/** The sweeper of each namespace that the service serves. */
export class Sweepers {
  private readonly sweepers = new Map<string, Sweeper>();
  /** Of namespaces that are served no more. */
  private readonly leaving = new Set<Promise<void>>();
  private endedByThose = 0;
  private started = false;
  private closed = false;

  constructor(private readonly create: (namespace: string) => Sweeper) {}

  /** How many sessions all of them ended. */
  get endedCount(): number {
    return [...this.sweepers.values()].reduce((sum, { endedCount }) => sum + endedCount, this.endedByThose);
  }

  /** Of the one that is latest. */
  get lagMs(): number {
    return Math.max(0, ...[...this.sweepers.values()].map(({ lagMs }) => lagMs));
  }

  /** Namespaces that it knows already stay as they are. */
  add(namespace: string): void {
    if (this.closed || this.sweepers.has(namespace)) return;
    const sweeper = this.create(namespace);
    this.sweepers.set(namespace, sweeper);
    if (this.started) sweeper.start();
  }

  /** Stops those of all other namespaces. */
  keepOnly(namespaces: ReadonlySet<string>): void {
    for (const [namespace, sweeper] of this.sweepers) {
      if (namespaces.has(namespace)) continue;
      this.sweepers.delete(namespace);
      const told = sweeper.endedCount;
      // a counter never falls, also while its last turn goes on
      this.endedByThose += told;
      const left = sweeper.close().then(() => {
        this.endedByThose += sweeper.endedCount - told;
        this.leaving.delete(left);
      });
      this.leaving.add(left);
    }
  }

  start(): void {
    this.started = true;
    for (const sweeper of this.sweepers.values()) sweeper.start();
  }

  /** Sweeps a partition of a namespace once, so late: where an end is announced. */
  comeBack(namespace: string, partition: number, inMs: number): void {
    this.sweepers.get(namespace)?.comeBack(partition, inMs);
  }

  async close(): Promise<void> {
    this.closed = true;
    await Promise.all([...this.leaving, ...[...this.sweepers.values()].map((sweeper) => sweeper.close())]);
  }
}
