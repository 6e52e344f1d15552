import type { Registry } from 'prom-client';
import type { ProcessHealth } from './admin/health-report.js';

export type MetricsReport = Awaited<ReturnType<Registry['getMetricsAsJSON']>>;

/** What a worker tells the process that looks after it. */
export type WorkerMessage =
  | { readonly kind: 'listening'; readonly address: string }
  | { readonly kind: 'ready' }
  /** When it is asked, and as its last word. */
  | { readonly kind: 'metrics'; readonly metrics: MetricsReport }
  /** `question` is that of the question. */
  | { readonly kind: 'health'; readonly question: number; readonly health: ProcessHealth }
  /** It cannot serve and another try cannot help; `code` is the exit status. */
  | { readonly kind: 'unusable'; readonly code: number };

/** What a worker is asked. */
export type WorkerQuestion =
  { readonly ask: 'metrics' } | { readonly ask: 'health'; readonly question: number; readonly withRedis: boolean };
