import type { NextFunction, Request, RequestHandler, Response } from 'express';
import type { Session } from '../../client/index.js';
import { failureOf } from '../http/failure.js';
import { callable, checkOptions, optional, type OptionChecks } from '../../client/option-checks.js';
import { sessionOfRequest } from '../http/request-session.js';
import type { SessionDenial } from '../http/session-check.js';
import { refuseUnmeetable, SESSION_OPTION_CHECKS, type SessionOptions } from '../http/session-options.js';
import { sendFailure } from './send-failure.js';

declare global {
  // Express's own way of adding to requests
  // eslint-disable-next-line @typescript-eslint/no-namespace
  namespace Express {
    interface Request {
      /** The session that the request was made in; see requireSession and loadSession. */
      gameSession?: Session;
    }
  }
}

export interface SessionMiddlewareOptions extends SessionOptions<Request> {
  /** Answers a denial in place of 401 with `{ success: false, error: { code } }`. */
  readonly onDenied?:
    ((request: Request, response: Response, next: NextFunction, denial: SessionDenial) => unknown) | undefined;
}

const CHECKS: OptionChecks<SessionMiddlewareOptions> = { ...SESSION_OPTION_CHECKS, onDenied: optional(callable) };

/**
 * Lets only requests in a live session through, puts it at `request.gameSession`, and touches it. Others are answered 401
 * with the reason as `error.code`: `missing`, `unknown`, `expired`, `revoked`, `binding` or `step_up`. While the service or its
 * Redis is away nobody can tell who is logged in: 503 with Retry-After, never a guess. The address is `request.ip`: behind a
 * proxy set `trust proxy`. Throws InvalidArgumentError for options that are wrong or misspelt; `fields` names them.
 */
export function requireSession(options: SessionMiddlewareOptions): RequestHandler {
  checkOptions('requireSession', options, CHECKS);
  refuseUnmeetable('requireSession', options);
  return sessionMiddleware(options, options.onDenied ?? deny);
}

/** As requireSession, and lets requests without a session through too: `request.gameSession` is undefined then. */
export function loadSession(options: SessionMiddlewareOptions): RequestHandler {
  checkOptions('loadSession', options, CHECKS);
  refuseUnmeetable('loadSession', options);
  return sessionMiddleware(options, undefined);
}

/** `onDenied` absent: nobody is denied. */
function sessionMiddleware(
  options: SessionMiddlewareOptions,
  onDenied: SessionMiddlewareOptions['onDenied'],
): RequestHandler {
  return (request, response, next) => {
    const check = async (): Promise<void> => {
      const checked = await sessionOfRequest(options, request, { headers: request, ip: request.ip });
      if (checked.status === 'open') request.gameSession = checked.session;
      else if (onDenied !== undefined) {
        // somebody else was faster, such as a middleware that bounds the time of a request
        if (!response.headersSent) await onDenied(request, response, next, checked.denial);
        return;
      }
      next();
    };
    check().catch((error: unknown) => {
      const failure = failureOf(error);
      if (failure === undefined) next(error);
      else sendFailure(response, failure);
    });
  };
}

function deny(_request: Request, response: Response, _next: NextFunction, denial: SessionDenial): void {
  response.set('WWW-Authenticate', 'Bearer');
  sendFailure(response, { statusCode: 401, code: denial });
}
