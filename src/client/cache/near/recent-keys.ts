/**
 * Keys that were read lately: the latest `capacity` of them at least, and twice as many at most. Only what is read for a
 * second time is watched. What is read once should not cost the service a watch, and with half of what can be watched as
 * capacity, nor does a tour of more keys than fit: each would have had to go before it came round again.
 */
export class RecentKeys {
  private current = new Set<string>();
  private before = new Set<string>();

  constructor(private readonly capacity: number) {}

  add(key: string): void {
    if (this.current.size >= this.capacity && !this.current.has(key)) {
      this.before = this.current;
      this.current = new Set();
    }
    this.current.add(key);
  }

  has(key: string): boolean {
    return this.current.has(key) || this.before.has(key);
  }
}
