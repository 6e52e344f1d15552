import { Buffer } from 'node:buffer';
import type { Logger } from 'pino';
import type { Session } from '../gen/shardkeep/session/v1/session.js';
import type { Call } from '../redis/call.js';
import { encodeIdentifier, keys, partitionOfUser } from '../redis/keys.js';
import type { BoundScript } from '../redis/lua-script.js';
import type { Redis } from '../redis/redis.js';
import { bindingOf } from './client-binding.js';
import { newSalt, secretOfRequest } from './derived-secret.js';
import { DEVICE_CLASS_NAMES, deviceClassOf } from './device-class.js';
import type { SessionTerms } from './profiles.js';
import { decodeSession, encodeRecord, PackedSession, type SessionContent } from './record.js';
import { createSessionScript, type CreateSessionReply } from './scripts.js';
import { indexKeys } from './session-keys.js';
import type { SessionStore } from './store.js';
import type { TokenStore } from './token-store.js';
import { createToken, partitionOf, tokenOf, type NewToken, type PresentedToken } from './token.js';
import type { TouchGuesses } from './touch-guesses.js';

export interface NewSession {
  readonly userId: string;
  readonly content: SessionContent;
  readonly terms: SessionTerms;
  /** Undefined: now. */
  readonly authenticatedAtMs: number | undefined;
  /** '': none. */
  readonly requestId: string;
  /** The token of a session whose place this one takes. */
  readonly replaces: PresentedToken | undefined;
  /** Sessions of the user to end if this one is created. */
  readonly evictSessionIds: readonly string[];
}

export type CreateSessionResult =
  | {
      readonly status: 'created';
      readonly session: Session;
      readonly sessionToken: string;
      readonly evictedSessionIds: string[];
      /** The session that this call ended, as its place was taken; '': none. */
      readonly replacedSessionId: string;
      /** An earlier call with the same request id created it. */
      readonly isRepeated: boolean;
    }
  | { readonly status: 'limit'; readonly liveSessions: Session[] }
  | { readonly status: 'blocked'; readonly blockedUntilMs: number }
  | { readonly status: 'revoked' }
  | { readonly status: 'spent' };

export interface LoginStoreOptions {
  readonly redis: Redis;
  readonly sessions: SessionStore;
  readonly tokens: TokenStore;
  readonly touches: TouchGuesses;
  readonly logger: Logger;
}

/** How many sessions the answer SESSION_LIMIT lists. */
const MAX_LISTED_AT_LIMIT = 100;
/** For giving back what nobody waited for. */
const GIVE_BACK_TIMEOUT_MS = 5_000;

/** Brings sessions into being; nothing else does. */
export class LoginStore {
  constructor(private readonly options: LoginStoreOptions) {}

  async createSession(request: NewSession, call: Call): Promise<CreateSessionResult> {
    const { requestId, replaces } = request;
    const salt = requestId === '' ? undefined : newSalt();
    const token = createToken(request.userId, salt && secretOfRequest(requestId, salt));
    const reply = await this.options.redis.run(bindCreate(request, token, salt, call), call);
    switch (reply.status) {
      case 'created': {
        const { packed, evictedSessionIds } = reply;
        this.options.touches.note(new PackedSession(token.sessionId, packed));
        return {
          status: 'created',
          session: decodeSession(token.sessionId, packed),
          sessionToken: token.sessionToken,
          evictedSessionIds,
          isRepeated: false,
          replacedSessionId: await this.finish(request, token.sessionId, reply.replacedSessionId, call),
        };
      }
      case 'repeated': {
        const { sessionId, packed } = reply;
        const replacedSessionId = await this.endReplaced(replaces, sessionId, call);
        return {
          status: 'created',
          session: decodeSession(sessionId, packed),
          sessionToken: tokenOf(sessionId, secretOfRequest(requestId, reply.salt)),
          evictedSessionIds: [],
          replacedSessionId,
          isRepeated: true,
        };
      }
      default:
        return reply;
    }
  }

  /** What is left to do for a session that was created; answers the session whose place it took, or ''. */
  private async finish(
    { requestId, replaces }: NewSession,
    sessionId: string,
    replacedSessionId: string,
    call: Call,
  ): Promise<string> {
    let replaced = replacedSessionId;
    try {
      if (replaced === '') replaced = await this.endReplaced(replaces, sessionId, call);
    } catch (error) {
      this.giveBack(requestId, sessionId, call.namespace);
      throw error;
    }
    if (call.ended) this.giveBack(requestId, sessionId, call.namespace);
    return replaced;
  }

  /** Ends the session that a token opens, this one having taken its place; answers its id, or '' where there was none. */
  private async endReplaced(replaced: PresentedToken | undefined, sessionId: string, call: Call): Promise<string> {
    if (replaced === undefined || replaced.sessionId === sessionId) return '';
    return (await this.options.tokens.destroyByToken(replaced, 'replaced', call)) ? replaced.sessionId : '';
  }

  /** Ends a session whose token nobody received, so that it does not count against the user's limit. */
  private giveBack(requestId: string, sessionId: string, namespace: string): void {
    // a retry will ask for it
    if (requestId !== '') return;
    const call: Call = { namespace, deadlineAt: performance.now() + GIVE_BACK_TIMEOUT_MS, ended: false };
    const words = { reason: 'unclaimed', message: '' };
    this.options.sessions.destroySession(sessionId, words, call).catch((error: unknown) => {
      this.options.logger.warn({ sessionId, err: error }, 'unclaimed session not given back');
    });
  }
}

/** `salt` is what the secret was derived from the request id with, where there is one. */
function bindCreate(
  request: NewSession,
  token: NewToken,
  salt: Buffer | undefined,
  call: Call,
): BoundScript<CreateSessionReply> {
  const { userId, content, terms, authenticatedAtMs, requestId, replaces, evictSessionIds } = request;
  const partition = partitionOfUser(userId);
  const partitionKeys = keys.sessions(call.namespace, partition);
  const user = encodeIdentifier(userId);
  const deviceClass = deviceClassOf(content.metadata.get('platform'));
  // a session of another partition is another user's
  const replaced = replaces !== undefined && partitionOf(replaces.sessionId) === partition ? replaces : undefined;
  return createSessionScript.bind(
    {
      session: partitionKeys.sessionPrefix + token.sessionId,
      user: partitionKeys.userPrefix + user,
      revocation: keys.revocation(call.namespace, partition, userId),
      ...indexKeys(partitionKeys),
      login: keys.login(call.namespace, partition, userId, requestId),
    },
    {
      sessionId: token.sessionId,
      secretHash: Buffer.from(token.secretHash, 'hex'),
      user,
      idleTtlMs: String(terms.idleTtlMs),
      absoluteTtlMs: String(terms.absoluteTtlMs),
      touchGranularityMs: String(terms.touchGranularityMs),
      maxSessions: String(terms.maxSessions),
      atLimit: terms.atLimit,
      authenticatedAtMs: String(authenticatedAtMs ?? 0),
      record: encodeRecord(content),
      maxListed: String(MAX_LISTED_AT_LIMIT),
      rotationGraceMs: String(terms.rotationGraceMs),
      renewalTtlMs: String(terms.renewalTtlMs),
      deviceClass: String(deviceClass),
      maxOfClass: String(terms.maxSessionsByDeviceClass[DEVICE_CLASS_NAMES[deviceClass]] ?? 0),
      binding: bindingOf(terms.binding, content.metadata),
      requestSalt: salt ?? '',
      replacedId: replaced?.sessionId ?? '',
      replacedHash: replaced === undefined ? '' : Buffer.from(replaced.secretHash, 'hex'),
      '...evictIds': evictSessionIds,
    },
  );
}
