import type {
  InlineRateLimitPolicy,
  Logger,
  RateLimitAlgorithm,
  RateLimitDecision,
  ShardkeepClient,
} from '../../client/index.js';

export type OfRequest<Request, Response, Value> = (request: Request, response: Response) => Value | Promise<Value>;

/** What HTTP middleware of every framework takes. */
export interface RateLimitOptions<Request, Response> {
  readonly client: Pick<ShardkeepClient, 'rateLimits'>;
  /** How long a request counts, 10 to 2,592,000,000 (30 days); 60,000 by default. Not with `policy`. */
  readonly windowMs?: number | undefined;
  /**
   * How many requests a key has in any window, from 1; needed unless there is a `policy`. As a function: for each request, for
   * tiers; then a request counts up to a 60th of the window longer.
   */
  readonly maxRequests?: number | OfRequest<Request, Response, number> | undefined;
  /** The same as `maxRequests`. */
  readonly limit?: number | OfRequest<Request, Response, number> | undefined;
  readonly max?: number | OfRequest<Request, Response, number> | undefined;
  /**
   * Tells limits of one key apart, 1 to 32 of [a-z0-9_-]; the headers name it. By default it is made of the limit and the
   * window, such as `100-in-15m`: limiters alike in both, and in their keys, share one count unless they have names.
   */
  readonly name?: string | undefined;
  /** By default `sliding_exact`, or `sliding_buckets` above 8,192 and where `maxRequests` is a function. */
  readonly algorithm?: Exclude<RateLimitAlgorithm, 'concurrency'> | undefined;
  /** A policy of the service by its name, or one by its values, in place of `windowMs` and `maxRequests`. */
  readonly policy?: string | InlineRateLimitPolicy | undefined;
  /**
   * Who a request counts for; by default its address. What is an address is counted as one: an IPv6 address by its network of
   * 64 bits, or as many as the service's policies file says. Everything else counts as it is.
   */
  readonly keyGenerator?: OfRequest<Request, Response, string | number | undefined> | undefined;
  /** The role of who asks, for a policy with tiers. */
  readonly role?: OfRequest<Request, Response, string | undefined> | undefined;
  /** Units that a request takes, 1 to 64; 1 by default. */
  readonly cost?: number | OfRequest<Request, Response, number> | undefined;
  /** True: the request is not looked at. */
  readonly skip?: OfRequest<Request, Response, boolean> | undefined;
  /** Gives a request back that was answered well: what counts is failures, such as wrong passwords. */
  readonly skipSuccessfulRequests?: boolean | undefined;
  /** Gives a request back that failed, or that the client abandoned. */
  readonly skipFailedRequests?: boolean | undefined;
  /** For these two; by default a status below 400. Who abandoned the request was not answered well. */
  readonly requestWasSuccessful?: OfRequest<Request, Response, boolean> | undefined;
  /** Told of each denial before it is answered. */
  readonly onLimit?: ((request: Request, response: Response, decision: RateLimitDecision) => unknown) | undefined;
  /**
   * `draft-8` (the default, also as `true` is): `RateLimit` and `RateLimit-Policy` as structured fields, as drafts 8 to 10 of
   * the IETF have them. `draft-7`: the same names in an older form. `draft-6`: `RateLimit-Limit`, `-Remaining`, `-Reset`.
   */
  readonly standardHeaders?: boolean | 'draft-6' | 'draft-7' | 'draft-8' | undefined;
  /** `X-RateLimit-Limit`, `-Remaining` and `-Reset` (Unix seconds); false by default. */
  readonly legacyHeaders?: boolean | undefined;
  /**
   * While the service is away, or Redis, and the policy does not say what holds then: `open` (the default) lets requests
   * through uncounted, `closed` answers 503 with Retry-After. Each is a warning.
   */
  readonly failMode?: 'open' | 'closed' | undefined;
  /** How long a request waits for the decision before `failMode` holds; 250 by default. */
  readonly timeoutMs?: number | undefined;
  /** A check whose answer was lost is made again and counted once; see CheckRateLimitOptions for what that costs. */
  readonly retrySafe?: boolean | undefined;
  /**
   * Where warnings go, each once in 10 s; that of the client is another. A pino logger fits; false: nothing is said. By default
   * they are warnings of the process (`ShardkeepWarning`), each at most once a minute.
   */
  readonly logger?: Pick<Logger, 'warn'> | false | undefined;
  /** Where a RateLimitInfo is put on the request; `rateLimit` by default. */
  readonly requestPropertyName?: string | undefined;
}

/** What later handlers find on the request. */
export interface RateLimitInfo {
  readonly limit: number;
  readonly used: number;
  readonly remaining: number;
  /** When nothing is in use any more, by Redis's clock. */
  readonly resetTime: Date | undefined;
  readonly key: string;
  readonly decision: RateLimitDecision;
}
