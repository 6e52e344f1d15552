import type { FastifyReply, FastifyRequest } from 'fastify';
import type { RateLimitDecision } from '../../client/index.js';
import { tellHeaders, type HeaderSink } from '../http/headers.js';
import { HttpRateLimiter } from '../http/http-rate-limiter.js';
import {
  anyObject,
  callable,
  checkOptions,
  either,
  optional,
  textUpTo,
  wholeNumber,
  type OptionChecks,
} from '../../client/option-checks.js';
import type { OfRequest, RateLimitOptions } from '../http/options.js';
import { RATE_LIMIT_CHECKS } from '../http/rate-limit-checks.js';

type JsonObject = Readonly<Record<string, unknown>>;

/** What errorResponseBuilder is told, by the names of @fastify/rate-limit. */
export interface RateLimitErrorContext {
  readonly statusCode: number;
  /** The service's ban denied the request. */
  readonly ban: boolean;
  /** How long to wait, for people: `12 seconds`. */
  readonly after: string;
  readonly max: number;
  /** How long to wait, in milliseconds. */
  readonly ttl: number;
  readonly decision: RateLimitDecision;
}

export interface FastifyRateLimitOptions extends RateLimitOptions<FastifyRequest, FastifyReply> {
  /** Of a denial; 429 by default, and 403 of who is banned. */
  readonly statusCode?: number | undefined;
  /** Of a denial: a string is the error's message, an object the body. */
  readonly message?: string | JsonObject | OfRequest<FastifyRequest, FastifyReply, string | JsonObject> | undefined;
  /** What a denial throws in place of an error with `statusCode` and `message`: an error, or the body. */
  readonly errorResponseBuilder?: ((request: FastifyRequest, context: RateLimitErrorContext) => object) | undefined;
}

export const FASTIFY_RATE_LIMIT_CHECKS: OptionChecks<FastifyRateLimitOptions> = {
  ...RATE_LIMIT_CHECKS,
  statusCode: optional(wholeNumber(200, 599)),
  message: optional(either(callable, anyObject, textUpTo(Infinity))),
  errorResponseBuilder: optional(callable),
};

/** A hook for `onRequest`, `preValidation` or `preHandler`. */
export interface RateLimitHook {
  (request: FastifyRequest, reply: FastifyReply): Promise<void>;
  /** Forgets what was counted for a key, as keyGenerator answers it. */
  resetKey(key: string): Promise<void>;
}

/**
 * A hook that lets `maxRequests` of each key through in any `windowMs`, exactly, whatever processes of yours they reach; others
 * never reach the handler. Denials are thrown, so that an error handler of yours sees them. For what has no route, such as
 * `setNotFoundHandler`; routes have `config.rateLimit`.
 *
 * The default key is `request.ip`: behind a proxy set Fastify's `trustProxy` to what is in front, never to `true`. Throws
 * InvalidArgumentError for options that no request could be decided by, and for misspelt ones; `fields` names them.
 */
export function createRateLimitHook(options: FastifyRateLimitOptions): RateLimitHook {
  return rateLimitHook('createRateLimitHook', options);
}

/** `of`: what the application has called. */
export function rateLimitHook(of: string, options: FastifyRateLimitOptions): RateLimitHook {
  checkOptions(of, options, FASTIFY_RATE_LIMIT_CHECKS);
  const limiter = new HttpRateLimiter<FastifyRequest, FastifyReply>(options, {
    of,
    // of a connection that is gone Fastify answers none either, whatever its types say
    addressOf: ({ ip }) => ip,
    rawOf: ({ raw }) => raw,
  });
  const hook = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const outcome = await limiter.decide(request, reply);
    switch (outcome.status) {
      case 'passed':
        return;
      case 'abandoned':
        reply.hijack();
        return;
      case 'unavailable':
        reply.header('Retry-After', outcome.retryAfterSeconds);
        throw httpError(503, 'Rate limits are unavailable');
      case 'admitted':
        tellHeaders(outcome.decision, options, sinkOf(reply), reply);
        return;
      case 'denied':
        tellHeaders(outcome.decision, options, sinkOf(reply), reply);
        await deny(outcome.decision, request, reply, options);
    }
  };
  return Object.assign(hook, { resetKey: (key: string) => limiter.resetKey(key) });
}

async function deny(
  decision: RateLimitDecision,
  request: FastifyRequest,
  reply: FastifyReply,
  options: FastifyRateLimitOptions,
): Promise<void> {
  const ban = decision.status === 'banned';
  const { statusCode = ban ? 403 : 429, errorResponseBuilder } = options;
  const { limit: max, retryAfterMs: ttl } = decision;
  const after = spokenOf(ttl);
  reply.code(statusCode);
  if (errorResponseBuilder !== undefined) {
    // as @fastify/rate-limit has it, what it builds may be a plain object
    // eslint-disable-next-line @typescript-eslint/only-throw-error
    throw errorResponseBuilder(request, { statusCode, ban, after, max, ttl, decision });
  }
  const { message = `Rate limit exceeded, retry in ${after}` } = options;
  const told = typeof message === 'function' ? await message(request, reply) : message;
  if (typeof told === 'string') throw httpError(statusCode, told);
  await reply.send(told);
}

function httpError(statusCode: number, message: string): Error {
  return Object.assign(new Error(message), { statusCode });
}

/** In the largest unit that is not too rough, rounded up. */
function spokenOf(ms: number): string {
  const seconds = Math.max(1, Math.ceil(ms / 1_000));
  const [count, unit] = seconds < 120 ? [seconds, 'second'] : [Math.ceil(seconds / 60), 'minute'];
  return `${count} ${unit}${count === 1 ? '' : 's'}`;
}

function sinkOf(reply: FastifyReply): HeaderSink {
  return {
    get: (name) => {
      const value = reply.getHeader(name);
      return value === undefined ? undefined : String(value);
    },
    set: (name, value) => {
      reply.header(name, value);
    },
  };
}
