import type { Sweeper } from './sweeper.js';

/** The sweeper of each namespace that the service serves, or has served since it started. */
export class Sweepers {
  private readonly sweepers = new Map<string, Sweeper>();
  private started = false;
  private closed = false;

  constructor(private readonly create: (namespace: string) => Sweeper) {}

  /** How many sessions all of them ended. */
  get endedCount(): number {
    return [...this.sweepers.values()].reduce((sum, { endedCount }) => sum + endedCount, 0);
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
    await Promise.all([...this.sweepers.values()].map((sweeper) => sweeper.close()));
  }
}
