import { setTimeout as sleep } from 'node:timers/promises';
import { DomainError } from '../errors.js';
import type { DeletePatternRequest, DeletePatternResponse } from '../gen/shardkeep/cache/v1/cache.js';
import { notAllowed } from '../grpc/principal.js';
import type { ServerStreamMethod, StreamContext } from '../grpc/rpc.js';
import { anything, text, type Rule } from '../grpc/rules.js';
import { KeyPattern, patternProblem } from './key-pattern.js';
import type { PatternProgress, PatternStore } from './pattern-store.js';

/** A caller hears from its call at least so often. */
const PROGRESS_MS = 500;

const patternText = text({ minBytes: 1, maxBytes: 512 });

const patternRule: Rule<string> = (value, field, violations) => {
  const before = violations.length;
  patternText(value, field, violations);
  const problem = violations.length === before ? patternProblem(value) : undefined;
  if (problem !== undefined) violations.push({ field, description: problem });
};

export function deletePatternMethod(
  store: PatternStore,
): ServerStreamMethod<DeletePatternRequest, DeletePatternResponse> {
  return {
    permit: ({ allowAll }, { isAdmin }) => {
      if (allowAll && !isAdmin) throw notAllowed('allow_all');
    },
    rules: { pattern: patternRule, allowAll: anything, dryRun: anything },
    onDrain: 'finish',
    handle: (request, call) => deletePattern(store, request, call),
  };
}

/** The work goes on by itself, and its caller is told how far it is when it listens: a slow one does not hold it up. */
async function* deletePattern(
  store: PatternStore,
  { pattern: given, allowAll, dryRun }: DeletePatternRequest,
  call: StreamContext,
): AsyncGenerator<DeletePatternResponse, void> {
  const pattern = new KeyPattern(given);
  if (pattern.literalPrefix === '' && !allowAll) {
    throw new DomainError('BROAD_PATTERN', 'the pattern begins with a wildcard; set allow_all if you mean it');
  }
  const progress: PatternProgress = { scanned: 0, matched: 0, deleted: 0 };
  const work = store.deletePattern(pattern, { dryRun, progress }, call);
  const ended = work.then(
    () => ({ failed: false }) as const,
    (error: unknown) => ({ failed: true, error }) as const,
  );
  try {
    for (;;) {
      const outcome = await Promise.race([ended, sleep(PROGRESS_MS, undefined, { ref: false })]);
      const done = outcome?.failed === false;
      // of a call that was not let in there is nothing to tell
      if (outcome?.failed !== true || progress.scanned > 0) yield toResponse(progress, done);
      if (outcome?.failed === true) throw outcome.error;
      if (done) return;
    }
  } finally {
    // it stops by itself when the call has ended
    await ended;
  }
}

function toResponse({ scanned, matched, deleted }: PatternProgress, done: boolean): DeletePatternResponse {
  return { scanned: BigInt(scanned), matched: BigInt(matched), deleted: BigInt(deleted), done };
}
