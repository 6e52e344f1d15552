import { nowMs, type HistoryFile } from '../history.js';

/** What a database does with fencing tokens: it refuses a writer with a lower one than it has seen. */
export class FencedStore {
  private readonly highest = new Map<string, number>();

  constructor(private readonly file: HistoryFile) {}

  write(key: string, token: number, holder: string): void {
    const accepted = token >= (this.highest.get(key) ?? 0);
    if (accepted) this.highest.set(key, token);
    this.file.add({ kind: 'store', key, token, holder, accepted, atMs: nowMs() });
  }
}
