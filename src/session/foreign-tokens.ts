import { Buffer } from 'node:buffer';
import { performance } from 'node:perf_hooks';
import type { Logger } from 'pino';
import { MostFrequent } from '../most-frequent.js';
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
  private recent = new MostFrequent(MAX_SOURCES);
  private older = new MostFrequent(MAX_SOURCES);
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
    const counts = new Map<string, number>();
    for (const { name, count } of [...this.older.all(), ...this.recent.all()]) {
      counts.set(name, (counts.get(name) ?? 0) + count);
    }
    return [...counts]
      .map(([source, count]) => ({ source, count }))
      .sort((one, other) => other.count - one.count)
      .slice(0, limit);
  }

  private forget(): void {
    const nowMs = performance.now();
    if (nowMs - this.generationAt < GENERATION_MS) return;
    this.older = nowMs - this.generationAt < 2 * GENERATION_MS ? this.recent : new MostFrequent(MAX_SOURCES);
    this.recent = new MostFrequent(MAX_SOURCES);
    this.generationAt = nowMs;
  }
}

/** The part of a string keeps the whole one in memory, and that of a refused request may have megabytes. */
function copyOf(text: string): string {
  return Buffer.from(text).toString();
}
