import type { NextFunction, Request, RequestHandler, Response } from 'express';
import type { Session, ShardkeepClient } from '../../client/index.js';
import { failureOf } from '../http/failure.js';
import { presentedClient } from '../http/presented-client.js';
import { checkSession, type SessionDenial } from '../http/session-check.js';
import { credentialOf, type CredentialSource } from '../http/session-credential.js';
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

export interface SessionMiddlewareOptions {
  readonly client: Pick<ShardkeepClient, 'sessions'>;
  /** Where the session token or id is, the first that has one decides; `['header']` by default. */
  readonly tokenFrom?: readonly CredentialSource[];
  /** How long ago the user may have proved who they are; older is denied as `step_up`. */
  readonly maxAuthAgeMs?: number;
  /** The client's by default. */
  readonly timeoutMs?: number;
  /** The device that makes the request, where the session is bound to one. */
  readonly deviceIdOf?: (request: Request) => string | undefined;
  /** Answers a denial in place of 401 with `{ success: false, error: { code } }`. */
  readonly onDenied?: (request: Request, response: Response, next: NextFunction, denial: SessionDenial) => unknown;
}

/**
 * Lets only requests in a live session through, puts it at `request.gameSession`, and touches it. Others are answered 401
 * with the reason as `error.code`: `missing`, `unknown`, `expired`, `revoked`, `binding` or `step_up`. While the service or its
 * Redis is away nobody can tell who is logged in: 503 with Retry-After, never a guess. The address is `request.ip`: behind a
 * proxy set `trust proxy`.
 */
export function requireSession(options: SessionMiddlewareOptions): RequestHandler {
  return sessionMiddleware(options, true);
}

/** As requireSession, and lets requests without a session through too: `request.gameSession` is undefined then. */
export function loadSession(options: SessionMiddlewareOptions): RequestHandler {
  return sessionMiddleware(options, false);
}

function sessionMiddleware(options: SessionMiddlewareOptions, isRequired: boolean): RequestHandler {
  const { client, tokenFrom = ['header'], maxAuthAgeMs, timeoutMs, deviceIdOf } = options;
  const onDenied: NonNullable<SessionMiddlewareOptions['onDenied']> = options.onDenied ?? deny;
  return (request, response, next) => {
    const check = async (): Promise<void> => {
      const credential = await credentialOf(request, tokenFrom);
      const checked = await checkSession(client.sessions, credential, {
        client: presentedClient(request.ip, request.get('user-agent'), deviceIdOf?.(request)),
        maxAuthAgeMs,
        timeoutMs,
      });
      if (checked.status === 'open') request.gameSession = checked.session;
      else if (isRequired) {
        await onDenied(request, response, next, checked.denial);
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
