import { z } from 'zod';

/** What several parts of the policies file have in common. */

/** Longest TTL, lifetime and block: 365 days. */
export const MAX_TTL_MS = 31_536_000_000;
export const MIN_WINDOW_MS = 10;
/** 30 days. */
export const MAX_WINDOW_MS = 2_592_000_000;
export const MAX_LIMIT = 1_000_000_000;
/** SLIDING_EXACT keeps 8 bytes for each unit of the limit, CONCURRENCY more for each slot. */
export const MAX_EXACT_LIMIT = 8_192;

/** Of profiles, policies, roles and kinds of subjects. */
export const name = z.string().regex(/^[a-z0-9_-]{1,32}$/, 'must be 1 to 32 of a-z, 0-9, _ and -');
