import { IANAZone } from 'luxon';
import { z } from 'zod';
import { CALENDAR_UNITS } from '../ratelimit/calendar.js';
import { parseListEntry } from '../ratelimit/subject-list.js';
import { canCountBurst } from '../ratelimit/terms.js';
import { MAX_EXACT_LIMIT, MAX_LIMIT, MAX_TTL_MS, MAX_WINDOW_MS, MIN_WINDOW_MS, name } from './common-fields.js';

/** The rate policies of the policies file. */

const MAX_DENIALS = 10_000;
const MAX_LADDER_STEPS = 16;
const MAX_LIST_ENTRIES = 1_000;
const MAX_KINDS = 16;
/** The kind of the limit that everybody shares. */
export const ALL = 'all';

const ttlMs = z.int().min(1).max(MAX_TTL_MS);
const windowMs = z.int().min(MIN_WINDOW_MS).max(MAX_WINDOW_MS);
const limit = z.int().min(1).max(MAX_LIMIT);
/** Of what keeps something for each unit. */
const exactLimit = z.int().min(1).max(MAX_EXACT_LIMIT);

const subjects = z
  .array(z.string().refine((text) => parseListEntry(text) !== undefined, 'must be kind:id, an address or a CIDR'))
  .max(MAX_LIST_ENTRIES);

/** What goes with every algorithm. */
const common = {
  /** `shadow`: its denials are told and counted only; `percent`: they deny for so many of a hundred subjects. */
  enforcement: z.union([z.enum(['on', 'shadow']), z.strictObject({ percent: z.int().min(0).max(100) })]).optional(),
  /** While Redis is away; `local_fraction`: each process admits this part of the limit by itself. */
  on_redis_loss: z
    .union([z.enum(['fail', 'allow', 'deny']), z.strictObject({ local_fraction: z.number().min(0).max(1) })])
    .optional(),
  /** Whoever was denied stays denied for so long. */
  block_ms: ttlMs.optional(),
  ban: z
    .strictObject({
      after: z.int().min(1).max(MAX_DENIALS),
      within_ms: ttlMs,
      ladder_ms: z.array(ttlMs).min(1).max(MAX_LADDER_STEPS),
      decay_ms: ttlMs,
    })
    .optional(),
  /** Not limited. */
  allow: subjects.optional(),
  /** Banned, unless `allow` names them too. */
  deny: subjects.optional(),
};

const exact = { ...common, limit: exactLimit, tiers: z.record(name, exactLimit).optional() };
const counted = { ...common, limit, tiers: z.record(name, limit).optional() };

/** Every algorithm with the fields it has, and those of `more`. */
function algorithms<More extends z.ZodRawShape>(more: More) {
  return z.discriminatedUnion('algorithm', [
    z.strictObject({ ...more, algorithm: z.literal('sliding_exact'), ...exact, window_ms: windowMs }),
    z.strictObject({ ...more, algorithm: z.literal('sliding_buckets'), ...counted, window_ms: windowMs }),
    z
      .strictObject({
        ...more,
        algorithm: z.literal('token_bucket'),
        ...counted,
        window_ms: windowMs,
        burst: limit.optional(),
      })
      .superRefine(checkBurst),
    z.strictObject({ ...more, algorithm: z.literal('fixed'), ...counted, window_ms: windowMs }),
    z.strictObject({
      ...more,
      algorithm: z.literal('calendar'),
      ...counted,
      unit: z.enum(CALENDAR_UNITS),
      time_zone: z.string().refine(isTimeZone, 'must be a time zone of the IANA database').optional(),
    }),
    z.strictObject({ ...more, algorithm: z.literal('concurrency'), ...exact, window_ms: windowMs }),
  ]);
}

const bucket = z.object({
  limit,
  window_ms: windowMs,
  burst: limit.optional(),
  tiers: z.record(name, limit).optional(),
});

/** Of a token bucket. A burst that nobody lives to see come back is more than the scripts can count. */
function checkBurst(policy: unknown, context: z.RefinementCtx): void {
  const { data } = bucket.safeParse(policy);
  if (data?.burst === undefined) return;
  const { burst, window_ms: ms, limit: most, tiers = {} } = data;
  const complain = (path: string[]): void => {
    context.addIssue({ code: 'custom', path, message: 'makes a burst that takes longer than 142 years to come back' });
  };
  if (!canCountBurst(burst, most, ms)) complain(['burst']);
  for (const [role, tier] of Object.entries(tiers)) if (!canCountBurst(burst, tier, ms)) complain(['tiers', role]);
}

/** Offsets such as +02:00 have no summer, and are not meant by who wants a day. */
function isTimeZone(zone: string): boolean {
  return /^[A-Za-z]/.test(zone) && IANAZone.isValidZone(zone);
}

const onePolicy = algorithms({});
const part = algorithms({ per: name });
const partsPolicy = z.strictObject({
  /** One limit for each kind of subject, all asked together. */
  limits: z
    .array(part)
    .min(1)
    .max(MAX_KINDS)
    .superRefine((parts, context) => {
      parts.forEach(({ per }, index) => {
        if (parts.findIndex((other) => other.per === per) === index) return;
        context.addIssue({ code: 'custom', path: [index, 'per'], message: 'has a limit already' });
      });
    }),
});

/** Every field that a limit of some algorithm has. */
export const RATE_POLICY_FIELDS: readonly string[] = [
  ...new Set(part.options.flatMap((option) => Object.keys(option.shape))),
];

export type OneRatePolicy = z.output<typeof onePolicy>;
export type RatePolicyPart = z.output<typeof part>;
export type RatePolicySettings = OneRatePolicy | { readonly limits: readonly RatePolicyPart[] };

/** A limit, or `limits` by kind of subject: told apart first, so that what is wrong is told of the one that was meant. */
export const ratePolicy = z.unknown().transform((value, context): RatePolicySettings => {
  const isParts = typeof value === 'object' && value !== null && 'limits' in value;
  const parsed = isParts ? partsPolicy.safeParse(value) : onePolicy.safeParse(value);
  if (parsed.success) return parsed.data;
  for (const issue of parsed.error.issues) {
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) {
        context.addIssue({ code: 'custom', path: [...issue.path, key], message: 'is not known' });
      }
    } else context.addIssue({ code: 'custom', path: [...issue.path], message: issue.message });
  }
  return z.NEVER;
});
