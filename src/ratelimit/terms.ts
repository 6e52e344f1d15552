import type { CalendarUnit } from './calendar.js';
import type { SubjectList } from './subject-list.js';

/** How a limit counts; the numbers are those of the proto and of the scripts. */
export const ALGORITHMS = {
  sliding_exact: 1,
  sliding_buckets: 2,
  token_bucket: 3,
  fixed: 4,
  calendar: 5,
  concurrency: 6,
} as const;

export type AlgorithmName = keyof typeof ALGORITHMS;

/** What a limit answers while Redis is away; `fail`: UNAVAILABLE. */
export type OnRedisLoss = 'fail' | 'allow' | 'deny' | { readonly localFraction: number };

/** A policy as it counts, whoever it is for. */
export interface PolicyTerms {
  readonly name: string;
  /** How a subject's standing and the keys of Redis call it: no inline policy is called as a configured one. */
  readonly storedName: string;
  readonly algorithm: AlgorithmName;
  /** Units in a window; `tiers` by role. */
  readonly limit: number;
  readonly tiers: Readonly<Record<string, number>>;
  /** 0 for `calendar`. */
  readonly windowMs: number;
  /** `token_bucket` only. */
  readonly burst: number | undefined;
  /** `calendar` only. */
  readonly calendar: { readonly unit: CalendarUnit; readonly timeZone: string } | undefined;
  /** The share of subjects that are denied, 0 to 1; the others are only watched. */
  readonly enforced: number;
  readonly onRedisLoss: OnRedisLoss;
  /** Denied for so long after a denial. */
  readonly blockMs: number | undefined;
  readonly ladder: BanLadder | undefined;
  /** Of one limit of several: the kind of subject it is for. */
  readonly subjectKind?: string | undefined;
  /** Who is not limited, and who is banned unless he is among those. */
  readonly allow?: SubjectList | undefined;
  readonly deny?: SubjectList | undefined;
}

/** What the lists of a policy say of a subject, without Redis. */
export type Listing = 'allowed' | 'denied';

export interface BanLadder {
  /** So many denials within `withinMs` are a ban. */
  readonly after: number;
  readonly withinMs: number;
  /** How long the first, second, … ban is; the last for all further ones. */
  readonly stepsMs: readonly number[];
  /** After so long without a ban the next one is a step lower. */
  readonly decayMs: number;
}

/** One subject under one policy. */
export interface LimitTerms {
  /** As asked for. */
  readonly subject: string;
  /** As it is counted: addresses are not what callers write. */
  readonly countedAs: string;
  readonly policy: PolicyTerms;
  /** Of this subject's tier. */
  readonly limit: number;
  /** Undefined: the cost of the call. */
  readonly cost: number | undefined;
  /** Whether its denials only are told. */
  readonly isShadow: boolean;
  /** Undefined: the subject is counted. */
  readonly listing?: Listing | undefined;
}

/** The debt of a full token bucket is no longer, in µs: with Redis's time it stays below 2^53. */
const MAX_DEBT_US = 2 ** 52;

/** Whether a token bucket of this burst is full again in a time that can be counted, 142 years. */
export function canCountBurst(burst: number, limit: number, windowMs: number): boolean {
  return (burst * windowMs * 1_000) / limit <= MAX_DEBT_US;
}

/** How many units there can be at once. */
export function capacityOf({ policy, limit }: LimitTerms): number {
  return policy.burst ?? limit;
}

/** Whether a denial leaves something behind. */
export function hasPenalty({ policy }: LimitTerms): boolean {
  return policy.blockMs !== undefined || policy.ladder !== undefined;
}
