import type { LimitPolicyName } from './limit-policies.js';

/** What the runner and the processes it starts say to each other. */

/** `library`: the service's own limiter in the process of whoever asks, without gRPC. */
export type TargetName = 'service-pipeline' | 'service-unary' | 'by-hand-default' | 'by-hand-best' | 'library';

export type WorkloadName =
  | 'get'
  | 'getTagged'
  | 'getNear'
  | 'getOrLease'
  | 'set'
  | 'delete'
  | 'getTtl'
  | 'exists'
  | 'validateSession'
  | 'createSession'
  | 'getSession'
  | 'updateSession'
  | 'rotateSession'
  | 'destroySession'
  | 'checkRateLimit'
  | 'limits'
  | 'lock'
  | 'mixed';

export interface LoadPlan {
  readonly target: TargetName;
  /** The service (host:port or unix:/path), or for what is written by hand the URL of Redis. */
  readonly address: string;
  readonly workload: WorkloadName;
  readonly keyCount: number;
  readonly valueBytes: number;
  /** Clients of its own connection each; loops take them in turn. */
  readonly connections: number;
  /** False: rates alone, and no clock is read around a call. */
  readonly latencies: boolean;
  /** True: somebody else wrote the keys. */
  readonly keysExist?: boolean;
  /** Of the sessions. Absent: `default`. */
  readonly profile?: string;
  /** Of the workload `limits`. */
  readonly limits?: LimitsPlan;
}

/** What each operation of the workload `limits` asks. */
export interface LimitsPlan {
  /** So many, one at random an operation. */
  readonly subjects: number;
  /** Policies of `limit-policies.ts` that limit the subject. */
  readonly policies: readonly LimitPolicyName[];
  /**
   * How they are asked for: in one check; in a check each, all at once or one after the other; or `checks` subjects under
   * the first policy, in one CheckManyRateLimits.
   */
  readonly as: 'one check' | 'at once' | 'in turn' | 'many';
  /** Of `many`, and of a single policy `at once`. Absent: 1. */
  readonly checks?: number;
  /** True: every answer has to be a denial, and is one from the first operation on. */
  readonly denied?: boolean;
  /** True: asked in a way that no other check shares a script's call with. */
  readonly alone?: boolean;
}

export type LoadCommand =
  /** Starts so many loops, and says `warm` after the time; they go on. */
  | { readonly kind: 'warm'; readonly inFlight: number; readonly durationMs: number }
  /** Counts for a time. */
  | { readonly kind: 'measure'; readonly durationMs: number }
  /** Ends the loops. */
  | { readonly kind: 'stop' }
  /** Sends calls by a schedule, however long the answers take, and counts latencies from the scheduled times. */
  | { readonly kind: 'pace'; readonly ratePerSecond: number; readonly durationMs: number }
  /** Says `begun`, and sends calls at a rate until `end`, which is answered with what they took. */
  | { readonly kind: 'begin'; readonly ratePerSecond: number }
  | { readonly kind: 'end' };

export type LoadReport =
  | { readonly kind: 'ready' | 'warm' | 'begun' | 'stopped' }
  | {
      readonly kind: 'measured';
      readonly operations: number;
      readonly durationMs: number;
      /** LatencyHistogram.toJSON(). */
      readonly latencies: readonly number[];
    };

export interface EchoPlan {
  readonly address: string;
  /** What every call is answered with, in base64. */
  readonly answer: string;
}

export interface EchoReport {
  readonly kind: 'listening';
  readonly address: string;
}

export interface ContentionPlan {
  readonly target: 'service' | 'redlock';
  /** The service, or the URL of Redis. */
  readonly address: string;
  readonly contenders: number;
  readonly holdMs: number;
}

export type ContentionReport =
  | { readonly kind: 'ready' }
  | {
      readonly kind: 'contended';
      readonly totalMs: number;
      /** Whether the lock was granted in the order in which it was asked for. */
      readonly isInOrder: boolean;
      /** From the beginning of a release to the next grant. */
      readonly handOffsMs: readonly number[];
    };
