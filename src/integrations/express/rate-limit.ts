import type { NextFunction, Request, RequestHandler, Response } from 'express';
import { tellHeaders, type HeaderSink } from '../http/headers.js';
import { HttpRateLimiter, type Outcome } from '../http/http-rate-limiter.js';
import {
  anyObject,
  callable,
  checkOptions,
  either,
  optional,
  textUpTo,
  wholeNumber,
  type OptionChecks,
} from '../http/option-checks.js';
import type { OfRequest, RateLimitOptions } from '../http/options.js';
import { RATE_LIMIT_CHECKS } from '../http/rate-limit-checks.js';

type JsonObject = Readonly<Record<string, unknown>>;

export interface ExpressRateLimitOptions extends RateLimitOptions<Request, Response> {
  /** Of a denial; 429 by default. */
  readonly statusCode?: number | undefined;
  /** The body of a denial: a string as text, an object as JSON, or what a function answers. `{ error }` by default. */
  readonly message?: string | JsonObject | OfRequest<Request, Response, string | JsonObject> | undefined;
  /** Answers a denial in place of `statusCode` and `message`; headers are set. */
  readonly handler?: (
    request: Request,
    response: Response,
    next: NextFunction,
    options: ExpressRateLimitOptions,
  ) => unknown;
}

const CHECKS: OptionChecks<ExpressRateLimitOptions> = {
  ...RATE_LIMIT_CHECKS,
  statusCode: optional(wholeNumber(200, 599)),
  message: optional(either(callable, anyObject, textUpTo(Infinity))),
  handler: optional(callable),
};

export type RateLimitRequestHandler = RequestHandler & {
  /** Forgets what was counted for a key, as keyGenerator answers it. */
  resetKey(key: string): Promise<void>;
};

/**
 * A middleware that lets `maxRequests` of each key through in any `windowMs`, exactly, whatever processes of yours they reach.
 * Others are answered 429 with Retry-After and never reach the handler. For Express 5 and 4; the options are those of
 * express-rate-limit where they mean the same.
 *
 * The default key is `req.ip`: behind a proxy set `trust proxy` to what is in front, never to `true`, since anybody could then
 * choose an address. Throws InvalidArgumentError for options that no request could be decided by, and for misspelt ones;
 * `fields` names them. An error that is no outage, such as a policy that is not configured, goes to `next`.
 *
 * A middleware that is in the way of a request twice counts it once; several middlewares count it each.
 */
export function createRateLimit(options: ExpressRateLimitOptions): RateLimitRequestHandler {
  return rateLimiter('createRateLimit', options);
}

/** `of`: what the application has called. */
export function rateLimiter(of: string, options: ExpressRateLimitOptions): RateLimitRequestHandler {
  checkOptions(of, options, CHECKS);
  const limiter = new HttpRateLimiter<Request, Response>(options, {
    of,
    addressOf: ({ ip }) => ip,
    rawOf: (response) => response,
  });
  const handle: RequestHandler = (request, response, next) => {
    limiter
      .decide(request, response)
      .then((outcome) => answer(outcome, { request, response, next, options }))
      .then((goesOn) => {
        if (goesOn) next();
      }, next);
  };
  return Object.assign(handle, { resetKey: (key: string) => limiter.resetKey(key) });
}

interface Exchange {
  readonly request: Request;
  readonly response: Response;
  readonly next: NextFunction;
  readonly options: ExpressRateLimitOptions;
}

/** Whether the request goes on. */
async function answer(outcome: Outcome, { request, response, next, options }: Exchange): Promise<boolean> {
  const { status } = outcome;
  if (status === 'passed') return true;
  // somebody else was faster, such as a middleware that bounds the time of a request
  if (response.headersSent) return status === 'admitted';
  switch (status) {
    case 'abandoned':
      return false;
    case 'unavailable':
      response.setHeader('Retry-After', String(outcome.retryAfterSeconds));
      response.status(503).json({ error: 'Rate limits are unavailable' });
      return false;
    case 'admitted':
      tellHeaders(outcome.decision, options, sinkOf(response), response);
      return true;
    case 'denied':
      tellHeaders(outcome.decision, options, sinkOf(response), response);
      if (options.handler === undefined) await deny(request, response, options);
      else await options.handler(request, response, next, options);
      return false;
  }
}

async function deny(request: Request, response: Response, options: ExpressRateLimitOptions): Promise<void> {
  const { statusCode = 429, message = { error: 'Rate limit exceeded' } } = options;
  const body = typeof message === 'function' ? await message(request, response) : message;
  if (response.headersSent) return;
  response.status(statusCode);
  // text, for a page that holds what a client sent would run in a browser
  if (typeof body === 'string') response.type('text/plain').send(body);
  else response.json(body);
}

function sinkOf(response: Response): HeaderSink {
  return {
    get: (name) => {
      const value = response.getHeader(name);
      return value === undefined ? undefined : String(value);
    },
    set: (name, value) => {
      response.setHeader(name, value);
    },
  };
}
