import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Session } from '../../client/index.js';
import { failureOf, type HttpFailure } from '../http/failure.js';
import { checkOptions } from '../../client/option-checks.js';
import { sessionOfRequest } from '../http/request-session.js';
import type { SessionDenial } from '../http/session-check.js';
import { refuseUnmeetable, SESSION_OPTION_CHECKS, type SessionOptions } from '../http/session-options.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** The session that the request was made in; see requireSession and loadSession. */
    gameSession?: Session;
  }
}

/** The same in Express, where there is also `onDenied`: here a denial is an error, which an error handler of yours may answer. */
export type SessionHookOptions = SessionOptions<FastifyRequest>;

/** A hook for `onRequest`, `preValidation` or `preHandler`. */
export type SessionHook = (request: FastifyRequest, reply: FastifyReply) => Promise<void>;

/**
 * Lets only requests in a live session through, puts it at `request.gameSession`, and touches it. Others are thrown as an
 * error with `statusCode` 401 and the reason as `code`: `missing`, `unknown`, `expired`, `revoked`, `binding` or `step_up`.
 * While the service or its Redis is away nobody can tell who is logged in: 503 with Retry-After, never a guess. The
 * address is `request.ip`: behind a proxy set `trustProxy`. Throws InvalidArgumentError for options that are wrong or misspelt;
 * `fields` names them.
 */
export function requireSession(options: SessionHookOptions): SessionHook {
  checkOptions('requireSession', options, SESSION_OPTION_CHECKS);
  refuseUnmeetable('requireSession', options);
  return async (request, reply) => {
    const denial = await load(options, request, reply);
    if (denial === undefined) return;
    reply.header('WWW-Authenticate', 'Bearer');
    throw httpError({ statusCode: 401, code: denial });
  };
}

/** As requireSession, and lets requests without a session through too: `request.gameSession` is undefined then. */
export function loadSession(options: SessionHookOptions): SessionHook {
  checkOptions('loadSession', options, SESSION_OPTION_CHECKS);
  refuseUnmeetable('loadSession', options);
  return async (request, reply) => {
    await load(options, request, reply);
  };
}

/** Why the request has no session; undefined: it has one. */
async function load(
  options: SessionHookOptions,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<SessionDenial | undefined> {
  const headers = { get: (name: string) => textOf(request.headers[name.toLowerCase()]) };
  try {
    const checked = await sessionOfRequest(options, request, { headers, ip: request.ip });
    if (checked.status === 'denied') return checked.denial;
    request.gameSession = checked.session;
    return undefined;
  } catch (error) {
    const failure = failureOf(error);
    if (failure === undefined) throw error;
    if (failure.retryAfterSeconds !== undefined) reply.header('Retry-After', failure.retryAfterSeconds);
    throw httpError(failure);
  }
}

/** A header that is there several times says nothing that could be trusted. */
function textOf(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? undefined : header;
}

function httpError({ statusCode, code }: HttpFailure): Error {
  return Object.assign(new Error(statusCode === 401 ? 'No session' : 'Sessions are unavailable'), { statusCode, code });
}
