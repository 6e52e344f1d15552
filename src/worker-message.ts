import type { Registry } from 'prom-client';

export type MetricsReport = Awaited<ReturnType<Registry['getMetricsAsJSON']>>;

/** What a worker tells the process that looks after it. */
export type WorkerMessage =
  | { readonly kind: 'listening'; readonly address: string }
  | { readonly kind: 'ready' }
  /** When it is asked, and as its last word. */
  | { readonly kind: 'metrics'; readonly metrics: MetricsReport }
  /** It cannot serve and another try cannot help; `code` is the exit status. */
  | { readonly kind: 'unusable'; readonly code: number };
