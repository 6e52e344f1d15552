import type { OneRatePolicy, RatePolicyPart, RatePolicySettings } from '../config/rate-policy.js';
import { Algorithm, type InlinePolicy } from '../gen/shardkeep/ratelimit/v1/ratelimit.js';
import { SubjectList } from './subject-list.js';
import type { AlgorithmName, OnRedisLoss, PolicyTerms } from './terms.js';

const DEFAULT_TIME_ZONE = 'UTC';

/** The limits of a configured policy: one, or one for each of its kinds of subjects in the order of the file. */
export function policyTerms(name: string, settings: RatePolicySettings): PolicyTerms[] {
  if (!('limits' in settings)) return [termsOf(name, settings)];
  // one stored name serves all: their subjects differ by kind
  return settings.limits.map((part) => ({ ...termsOf(name, part), subjectKind: part.per }));
}

function termsOf(name: string, settings: OneRatePolicy | RatePolicyPart): PolicyTerms {
  const { algorithm, limit, tiers = {}, enforcement = 'on', block_ms, ban } = settings;
  return {
    name,
    storedName: name,
    algorithm,
    limit,
    tiers,
    windowMs: settings.algorithm === 'calendar' ? 0 : settings.window_ms,
    burst: settings.algorithm === 'token_bucket' ? settings.burst : undefined,
    calendar:
      settings.algorithm === 'calendar'
        ? { unit: settings.unit, timeZone: settings.time_zone ?? DEFAULT_TIME_ZONE }
        : undefined,
    enforced: typeof enforcement === 'object' ? enforcement.percent / 100 : enforcement === 'on' ? 1 : 0,
    onRedisLoss: onRedisLossOf(settings),
    blockMs: block_ms,
    ladder: ban && {
      after: ban.after,
      withinMs: ban.within_ms,
      stepsMs: ban.ladder_ms,
      decayMs: ban.decay_ms,
    },
    allow: listOf(settings.allow),
    deny: listOf(settings.deny),
  };
}

function onRedisLossOf({ on_redis_loss: onRedisLoss = 'fail' }: OneRatePolicy | RatePolicyPart): OnRedisLoss {
  return typeof onRedisLoss === 'object' ? { localFraction: onRedisLoss.local_fraction } : onRedisLoss;
}

/** Undefined for a list of nobody, which need not be looked at. */
function listOf(entries: readonly string[] = []): SubjectList | undefined {
  return entries.length === 0 ? undefined : new SubjectList(entries);
}

const ALGORITHM_NAMES: ReadonlyMap<Algorithm, AlgorithmName> = new Map([
  [Algorithm.SLIDING_EXACT, 'sliding_exact'],
  [Algorithm.SLIDING_BUCKETS, 'sliding_buckets'],
  [Algorithm.TOKEN_BUCKET, 'token_bucket'],
  [Algorithm.FIXED, 'fixed'],
  [Algorithm.CONCURRENCY, 'concurrency'],
]);

/** The terms of a policy that is given with a request. */
export function inlinePolicyTerms({ name, algorithm, limit, windowMs, burst }: InlinePolicy): PolicyTerms {
  const algorithmName = ALGORITHM_NAMES.get(algorithm) ?? 'sliding_exact';
  return {
    name,
    storedName: inlinePolicyName(name, algorithm, Number(windowMs)),
    algorithm: algorithmName,
    limit,
    tiers: {},
    windowMs: Number(windowMs),
    burst: algorithmName === 'token_bucket' ? burst : undefined,
    calendar: undefined,
    enforced: 1,
    onRedisLoss: 'fail',
    blockMs: undefined,
    ladder: undefined,
  };
}

/**
 * The dots keep it apart from every configured name. The window is part of it: a ring forgets what its window no longer
 * counts, and a longer one would miss that.
 */
function inlinePolicyName(name: string, algorithm: Algorithm, windowMs: number): string {
  const kind = algorithm === Algorithm.SLIDING_EXACT ? '' : `.${String(algorithm)}`;
  return `inline.${name}.${String(windowMs)}${kind}`;
}
