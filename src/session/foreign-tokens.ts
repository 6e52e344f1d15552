import { Buffer } from 'node:buffer';
import { performance } from 'node:perf_hooks';
import type { Logger } from 'pino';
import { isToken } from './token.js';

/** Texts that are no token, and tokens that open nothing and never did, as far as Redis remembers. */
export const FOREIGN_KINDS = ['malformed', 'unknown'] as const;
export type ForeignKind = (typeof FOREIGN_KINDS)[number];

/** What a request with a session token says of who presents it. */
export interface TokenRequest {
  readonly sessionToken: string;
  readonly client: { readonly ip: string } | undefined;
}

export interface ForeignTokenSource {
  readonly source: string;
  readonly count: number;
}

/** The sources of one or two such times are told of. */
const GENERATION_MS = 300_000;
/** Counted at once in a generation: whoever presents more than one in 128 is among them, however many others do. */
const MAX_SOURCES = 128;
const MAX_SOURCE_LENGTH = 64;
const WARN_EVERY_MS = 10_000;
/** Of one source; a token that was kept for too long is nothing to warn of. */
const WARN_FROM = 10;
const WARNED_SOURCES = 3;

/** Who presents foreign tokens to this process: somebody may be guessing. Nothing of the tokens is kept. */
export class ForeignTokens {
  readonly counts: Record<ForeignKind, number> = { malformed: 0, unknown: 0 };
  private recent = new Sources();
  private older = new Sources();
  private generationAt = performance.now();
  private warnedAt = Number.NEGATIVE_INFINITY;

  constructor(private readonly logger: Logger) {}

  /** A request that was refused: counts it where its token is none. */
  refused(request: TokenRequest, peer: string): void {
    if (!isToken(request.sessionToken)) this.count('malformed', request, peer);
  }

  count(kind: ForeignKind, { client }: Pick<TokenRequest, 'client'>, peer: string): void {
    this.counts[kind]++;
    const ip = client?.ip ?? '';
    // of a refused request, it may be anything
    const source = copyOf((ip === '' ? peer : ip).slice(0, MAX_SOURCE_LENGTH));
    this.forget();
    if (this.recent.add(source) < WARN_FROM || performance.now() - this.warnedAt < WARN_EVERY_MS) return;
    this.warnedAt = performance.now();
    this.logger.warn({ sources: this.top(WARNED_SOURCES) }, 'foreign session tokens');
  }

  /** Who presented most of them in the last 5 to 10 minutes, the most first. */
  top(limit: number): readonly ForeignTokenSource[] {
    this.forget();
    const counts = this.older.certain();
    for (const [source, count] of this.recent.certain()) counts.set(source, (counts.get(source) ?? 0) + count);
    return [...counts]
      .map(([source, count]) => ({ source, count }))
      .sort((one, other) => other.count - one.count)
      .slice(0, limit);
  }

  private forget(): void {
    const nowMs = performance.now();
    if (nowMs - this.generationAt < GENERATION_MS) return;
    this.older = nowMs - this.generationAt < 2 * GENERATION_MS ? this.recent : new Sources();
    this.recent = new Sources();
    this.generationAt = nowMs;
  }
}

/** The part of a string keeps the whole one in memory, and that of a refused request may have megabytes. */
function copyOf(text: string): string {
  return Buffer.from(text).toString();
}

/**
 * The sources that are seen most, in bounded memory: Space-Saving of Metwally, Agrawal and El Abbadi, "Efficient
 * Computation of Frequent and Top-k Elements in Data Streams", ICDT 2005.
 */
class Sources {
  private readonly counts = new Map<string, { count: number; readonly notItsOwn: number }>();

  /** Answers how often the source was certainly seen. */
  add(source: string): number {
    const known = this.counts.get(source) ?? this.placeFor(source);
    known.count++;
    return known.count - known.notItsOwn;
  }

  certain(): Map<string, number> {
    return new Map([...this.counts].map(([source, { count, notItsOwn }]) => [source, count - notItsOwn]));
  }

  /** One of its own while there is one; then that of the source seen least, which it takes over. */
  private placeFor(source: string): { count: number; readonly notItsOwn: number } {
    let fewest = 0;
    if (this.counts.size >= MAX_SOURCES) {
      let rarest = '';
      fewest = Number.POSITIVE_INFINITY;
      for (const [other, { count }] of this.counts) {
        if (count >= fewest) continue;
        rarest = other;
        fewest = count;
      }
      this.counts.delete(rarest);
    }
    const place = { count: fewest, notItsOwn: fewest };
    this.counts.set(source, place);
    return place;
  }
}
