import { Code, ShardkeepError } from '../../client/index.js';

/** How an error of the service is told to a web client: nothing of what the service says of itself. */
export interface HttpFailure {
  readonly statusCode: number;
  /** For programs. */
  readonly code: string;
  /** The wrong fields, where the request is wrong. */
  readonly fields?: readonly string[];
  /** Whole seconds, for Retry-After. */
  readonly retryAfterSeconds?: number;
}

const STATUS: Readonly<Partial<Record<Code, readonly [number, string]>>> = {
  [Code.INVALID_ARGUMENT]: [400, 'invalid_request'],
  [Code.NOT_FOUND]: [404, 'not_found'],
  [Code.ABORTED]: [409, 'conflict'],
  [Code.FAILED_PRECONDITION]: [409, 'conflict'],
  [Code.RESOURCE_EXHAUSTED]: [503, 'unavailable'],
  [Code.UNAVAILABLE]: [503, 'unavailable'],
  [Code.DEADLINE_EXCEEDED]: [503, 'unavailable'],
};

/** Undefined: no error that a client of the web could do anything about; it is the server's own. */
export function failureOf(error: unknown): HttpFailure | undefined {
  if (!(error instanceof ShardkeepError)) return undefined;
  const { code, reason, fields, retryAfterMs } = error;
  const [statusCode, name] = reason === 'RATE_LIMITED' ? ([429, 'rate_limited'] as const) : (STATUS[code] ?? []);
  if (statusCode === undefined || name === undefined) return undefined;
  const isLater = statusCode === 429 || statusCode === 503;
  return {
    statusCode,
    code: name,
    ...(fields.length > 0 && { fields }),
    ...(isLater && { retryAfterSeconds: Math.max(1, Math.ceil((retryAfterMs ?? 1_000) / 1_000)) }),
  };
}
