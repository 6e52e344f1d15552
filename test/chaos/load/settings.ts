import { z } from 'zod';

/** What the process of the load is told when it starts, and says and hears later. */
export const loadSettings = z.object({
  seed: z.number(),
  /** Where its records go. */
  file: z.string(),
  /** One of each service, or of whoever stands before them. */
  addresses: z.array(z.string()),
  /** Whether an actor stays with one of them; by default it asks any. */
  staying: z.boolean().default(false),
  /** Clients of each address. */
  clientsEach: z.number(),
  timeoutMs: z.number(),
  /** The deadline of the service for calls without one; undefined where nobody shall rely on it. */
  serviceDeadlineMs: z.number().optional(),
  /** Actors of each kind. */
  actors: z.object({
    sessions: z.number(),
    locks: z.number(),
    holders: z.number(),
    limits: z.number(),
    caches: z.number(),
  }),
  restMs: z.number(),
});
export type LoadSettings = z.output<typeof loadSettings>;
/** The same as it is told, with what may be left out. */
export type LoadOrder = z.input<typeof loadSettings>;

export const loadRequest = z.enum(['stop', 'verify', 'quit']);
export type LoadRequest = z.output<typeof loadRequest>;

/** `calls` is told once a moment; the others answer a request. */
export const loadNews = z.discriminatedUnion('news', [
  z.object({ news: z.literal('calls'), calls: z.number() }),
  z.object({ news: z.literal('stopped') }),
  z.object({ news: z.literal('verified') }),
]);
export type LoadNews = z.output<typeof loadNews>;

/** What the process is told that asks for liveness. */
export const probeSettings = z.object({ address: z.string(), everyMs: z.number(), timeoutMs: z.number() });
export type ProbeSettings = z.output<typeof probeSettings>;

/** What it says after its first probe, and when it is told to stop. */
export const probeNews = z.object({ probes: z.number(), failed: z.number(), worstMs: z.number() });
export type ProbeNews = z.output<typeof probeNews>;
