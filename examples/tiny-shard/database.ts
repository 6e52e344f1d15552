import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FencedRow, OpenReply, Profile, TradeWrite, WriteReply } from './protocol.js';

/** An accepted write as it stands in the ledger: one JSON line each. */
export interface LedgerEntry {
  readonly tradeId: string;
  readonly shard: string;
  readonly rows: readonly {
    readonly userId: string;
    readonly fencingToken: number;
    readonly items: readonly string[];
  }[];
}

export type Inventories = ReadonlyMap<string, readonly string[]>;

/** A write that came with a token below the row's fence. */
export interface StaleWrite {
  readonly tradeId: string;
  readonly shard: string;
}

/**
 * The database of the game: profiles, and a row per inventory with its **fence**, the highest fencing token it has seen.
 * A lock alone cannot protect a row, because a shard that stalls loses its lease without knowing it; refusing lower tokens
 * can. One process owns the store and serves one request at a time, and a write is one appended line, so both rows of a
 * trade change or neither does.
 */
export class Database {
  readonly staleWrites: StaleWrite[] = [];
  profileLoads = 0;
  private readonly folder = mkdtempSync(join(tmpdir(), 'tiny-shard-'));
  private readonly ledgerPath = join(this.folder, 'ledger.jsonl');
  private readonly inventories: Map<string, readonly string[]>;
  private readonly fences = new Map<string, number>();
  private readonly written = new Map<string, number>();
  private readonly awaited = new Map<string, (reply: WriteReply) => void>();

  constructor(
    private readonly profiles: ReadonlyMap<string, Profile>,
    private readonly passwords: ReadonlyMap<string, string>,
    initial: Inventories,
  ) {
    this.inventories = new Map(initial);
    writeFileSync(this.ledgerPath, '');
  }

  checkPassword(userId: string, password: string): boolean {
    return this.passwords.get(userId) === password;
  }

  loadProfile(userId: string): Profile {
    this.profileLoads++;
    const profile = this.profiles.get(userId);
    if (profile === undefined) throw new Error(`no profile of ${userId}`);
    return profile;
  }

  /**
   * Reads rows in order to change them, and raises their fences. That the fence rises at the read and not only at the write
   * matters: otherwise a stalled holder could still write between the read and the write of its successor, whose write
   * would then undo it.
   */
  openForUpdate(rows: readonly FencedRow[]): OpenReply {
    if (rows.some((row) => this.isStale(row))) return { status: 'stale' };
    for (const { userId, fencingToken } of rows) this.fences.set(userId, fencingToken);
    return { status: 'open', inventories: rows.map(({ userId }) => this.inventory(userId)) };
  }

  write(write: TradeWrite): WriteReply {
    const reply = this.tryWrite(write);
    this.awaited.get(write.tradeId)?.(reply);
    this.awaited.delete(write.tradeId);
    return reply;
  }

  /** How the next write of this trade ends, whenever it comes. */
  outcomeOf(tradeId: string): Promise<WriteReply> {
    return new Promise((resolve) => {
      this.awaited.set(tradeId, resolve);
    });
  }

  /** Every accepted write, read back from the file. */
  readLedger(): LedgerEntry[] {
    const lines = readFileSync(this.ledgerPath, 'utf8').split('\n');
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as LedgerEntry);
  }

  close(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  private tryWrite(write: TradeWrite): WriteReply {
    // a grant is good for one write here: its token a second time is the same write sent twice
    if (write.rows.some((row) => this.isStale(row) || this.written.get(row.userId) === row.fencingToken)) {
      this.staleWrites.push({ tradeId: write.tradeId, shard: write.shard });
      return 'stale';
    }
    const { tradeId, shard, rows } = write;
    appendFileSync(this.ledgerPath, `${JSON.stringify({ tradeId, shard, rows } satisfies LedgerEntry)}\n`);
    for (const { userId, fencingToken, items } of write.rows) {
      this.fences.set(userId, fencingToken);
      this.written.set(userId, fencingToken);
      this.inventories.set(userId, items);
    }
    return 'written';
  }

  private isStale({ userId, fencingToken }: FencedRow): boolean {
    return fencingToken < (this.fences.get(userId) ?? 0);
  }

  private inventory(userId: string): readonly string[] {
    const items = this.inventories.get(userId);
    if (items === undefined) throw new Error(`no inventory of ${userId}`);
    return items;
  }
}
