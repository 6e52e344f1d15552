import express, { type Request, type RequestHandler, type Response, type Router } from 'express';
import { InvalidArgumentError, type Session, type ShardkeepClient } from '../../client/index.js';
import { failureOf } from '../http/failure.js';
import {
  callable,
  checkOptions,
  clientWithSessions,
  name,
  optional,
  wholeNumber,
  type OptionChecks,
} from '../../client/option-checks.js';
import { platformOf } from '../http/platform.js';
import { presentedClient } from '../http/presented-client.js';
import { METADATA_NAMES } from '../http/metadata-names.js';
import { sessionView } from '../http/session-view.js';
import { sendFailure } from './send-failure.js';
import { sendJson } from './send-json.js';

/** Who makes a request. */
export interface AuthenticatedUser {
  readonly userId: string;
  readonly username?: string | undefined;
  readonly roles?: readonly string[] | undefined;
  readonly permissions?: readonly string[] | undefined;
}

export interface SessionRoutesOptions {
  readonly client: Pick<ShardkeepClient, 'sessions'>;
  /**
   * Who makes the request: by a JWT that you verify, or by the session that requireSession has found
   * (`(request) => request.gameSession`). Undefined: nobody, which is answered 401.
   */
  readonly authenticate: (request: Request) => AuthenticatedUser | undefined | Promise<AuthenticatedUser | undefined>;
  /** Of new sessions; `default` by default. */
  readonly profile?: string | undefined;
  /** The most that a request may extend a session by, 1 to 31,536,000,000; 2,592,000,000 (30 days) by default. */
  readonly maxExtendMs?: number | undefined;
}

const CHECKS: OptionChecks<SessionRoutesOptions> = {
  client: clientWithSessions,
  authenticate: callable,
  profile: optional(name),
  maxExtendMs: optional(wholeNumber(1, 31_536_000_000)),
};

type Handler = (request: Request, response: Response, user: AuthenticatedUser) => Promise<void>;

const MAX_BODY = '16kb';
const DAY_MS = 86_400_000;
const DEFAULT_EXTEND_MS = 1_800_000;
const MAX_FIELDS_TOLD = 16;

/**
 * Routes for the sessions of whoever asks, to be mounted at `/api/v1/sessions`:
 * `POST /create`, `GET /user/sessions`, `GET /:sessionId`, `POST /:sessionId/extend` (`{ ttlMs }`), `DELETE /:sessionId`.
 *
 * A body that names anything else is answered 400, and so is one that is no object.
 *
 * Another user's session is answered 404, as one that is not there. Answers are `{ success: true, data }` or
 * `{ success: false, error: { code, fields? } }`; 503 with Retry-After while the service is away. A new session's metadata are
 * the body's `metadata`, with `ip` and `userAgent` of the request, and `platform` by the User-Agent where the body names none.
 *
 * Throws InvalidArgumentError for options that are wrong or misspelt; `fields` names them.
 */
export function sessionRoutes(options: SessionRoutesOptions): Router {
  checkOptions('sessionRoutes', options, CHECKS);
  const { client, authenticate, profile, maxExtendMs = 30 * DAY_MS } = options;
  const { sessions } = client;
  const router = express.Router();
  router.use(jsonBody());

  const asUser =
    (handler: Handler) =>
    (request: Request, response: Response, next: (error: unknown) => void): void => {
      const run = async (): Promise<void> => {
        const user = await authenticate(request);
        if (user === undefined) {
          sendFailure(response, { statusCode: 401, code: 'unauthenticated' });
          return;
        }
        const { userId }: { readonly userId?: unknown } = user;
        if (typeof userId !== 'string' || userId === '') throw new TypeError('authenticate has answered no userId');
        await handler(request, response, user);
      };
      run().catch((error: unknown) => {
        const failure = isOwnMistake(error) ? undefined : failureOf(error);
        if (failure === undefined) next(error);
        else sendFailure(response, failure);
      });
    };

  /** The session of the path, if it is the user's. */
  const ownSession = async (request: Request, { userId }: AuthenticatedUser): Promise<Session | undefined> => {
    const { sessionId = '' } = request.params;
    const session = await sessions.getSession(String(sessionId)).catch((error: unknown) => {
      // what has not even the shape of an id is not there either
      if (error instanceof InvalidArgumentError) return undefined;
      throw error;
    });
    return session?.userId === userId ? session : undefined;
  };

  router.post(
    '/create',
    asUser(async (request, response, user) => {
      if (refusesUnknown(request, response, ['metadata'])) return;
      const metadata = metadataOf(request);
      if (metadata === undefined) {
        sendFailure(response, { statusCode: 400, code: 'invalid_request', fields: ['metadata'] });
        return;
      }
      const { userId, username, roles, permissions } = user;
      const result = await sessions.createSession({ userId, username, roles, permissions, metadata, profile });
      if (result.status === 'created') {
        const { session, sessionToken } = result;
        const { sessionId, expiresAt } = sessionView(session);
        sendJson(response, 201, { success: true, data: { sessionId, sessionToken, expiresAt } });
      } else if (result.status === 'session_limit') {
        sendJson(response, 409, {
          success: false,
          error: { code: result.status, sessions: result.liveSessions.map((session) => sessionView(session)) },
        });
      } else {
        sendFailure(response, { statusCode: 403, code: result.status });
      }
    }),
  );

  router.get(
    '/user/sessions',
    asUser(async (_request, response, { userId }) => {
      const { sessions: live, totalCount } = await sessions.listUserSessions(userId);
      sendJson(response, 200, {
        success: true,
        data: { sessions: live.map((session) => sessionView(session)), totalCount },
      });
    }),
  );

  router.get(
    '/:sessionId',
    asUser(async (request, response, user) => {
      const session = await ownSession(request, user);
      if (session === undefined) sendFailure(response, NOT_FOUND);
      else sendJson(response, 200, { success: true, data: sessionView(session) });
    }),
  );

  router.post(
    '/:sessionId/extend',
    asUser(async (request, response, user) => {
      if (refusesUnknown(request, response, ['ttlMs'])) return;
      const ttlMs = extensionOf(request);
      if (ttlMs === undefined || ttlMs > maxExtendMs) {
        sendFailure(response, { statusCode: 400, code: 'invalid_request', fields: ['ttlMs'] });
        return;
      }
      const own = await ownSession(request, user);
      if (own === undefined) sendFailure(response, NOT_FOUND);
      else
        sendJson(response, 200, {
          success: true,
          data: sessionView(await sessions.extendSession(own.sessionId, { ttlMs })),
        });
    }),
  );

  router.delete(
    '/:sessionId',
    asUser(async (request, response, user) => {
      const own = await ownSession(request, user);
      if (own === undefined) {
        sendFailure(response, NOT_FOUND);
        return;
      }
      await sessions.destroySession(own.sessionId, { reason: 'logout' });
      sendJson(response, 200, { success: true, data: { sessionId: own.sessionId } });
    }),
  );
  return router;
}

const NOT_FOUND = { statusCode: 404, code: 'not_found' } as const;

/** Of the application, as a profile that is not configured: of what players send only metadata are left to the service to judge. */
function isOwnMistake(error: unknown): boolean {
  return error instanceof InvalidArgumentError && !error.fields.every((field) => field.startsWith('metadata'));
}

/** As `express.json`, and a body that is none is answered here: Express would answer with a page. */
function jsonBody(): RequestHandler {
  const parse: RequestHandler = express.json({ limit: MAX_BODY });
  return (request, response, next) => {
    parse(request, response, (error?: unknown) => {
      const status: unknown = isRecord(error) ? error.status : undefined;
      if (typeof status === 'number' && status >= 400 && status < 500)
        sendFailure(response, { statusCode: status, code: 'invalid_request' });
      else next(error);
    });
  };
}

/** Answers a body that says what would not be done, as `ttl` for `ttlMs`. No body is one without names. */
function refusesUnknown({ body }: { readonly body?: unknown }, response: Response, known: readonly string[]): boolean {
  const names = isRecord(body) ? Object.keys(body) : [];
  const fields = names.filter((each) => !known.includes(each)).slice(0, MAX_FIELDS_TOLD);
  const isOne = body === undefined || isRecord(body);
  if (isOne && fields.length === 0) return false;
  sendFailure(response, { statusCode: 400, code: 'invalid_request', ...(fields.length > 0 && { fields }) });
  return true;
}

/** Undefined: the body's metadata are no map of texts. */
function metadataOf(request: Request): Record<string, string> | undefined {
  const body: unknown = request.body;
  const given: unknown = isRecord(body) ? (body.metadata ?? {}) : {};
  if (!isRecord(given)) return undefined;
  const entries = Object.entries(given);
  if (!entries.every((entry): entry is [string, string] => typeof entry[1] === 'string')) return undefined;
  const named = entries
    .map(([name, value]): [string, string] => [METADATA_NAMES.get(name) ?? name, value])
    // the request's, or none
    .filter(([name]) => name !== 'ip');
  const { ip, userAgent } = presentedClient(request.ip, request.get('user-agent'), undefined);
  const platform = platformOf(userAgent);
  return {
    ...(platform !== undefined && { platform }),
    ...(userAgent !== undefined && { user_agent: userAgent }),
    ...Object.fromEntries(named),
    ...(ip !== undefined && { ip }),
  };
}

/** Undefined: it is no time. */
function extensionOf(request: Request): number | undefined {
  const body: unknown = request.body;
  const ttlMs: unknown = isRecord(body) ? (body.ttlMs ?? DEFAULT_EXTEND_MS) : DEFAULT_EXTEND_MS;
  return typeof ttlMs === 'number' && Number.isInteger(ttlMs) && ttlMs > 0 ? ttlMs : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
