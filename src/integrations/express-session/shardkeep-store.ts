import { createHash } from 'node:crypto';
import { Store, type Session as ExpressSession, type SessionData } from 'express-session';
import { NotFoundError, type Session, type Sessions } from '../../client/index.js';
import {
  checkOptions,
  flag,
  name,
  numberFrom,
  optional,
  textUpTo,
  thing,
  type OptionChecks,
} from '../../client/option-checks.js';
import { leaseMetadata, readSession, sessionMetadata, untilOf } from './session-record.js';

export interface ShardkeepStoreOptions {
  /** `connect(…).sessions`. */
  readonly sessions: Sessions;
  /** Before the hash of the sid in the user id of what is stored, up to 85 bytes: two apps need two. `express:` by default. */
  readonly prefix?: string | undefined;
  /**
   * The profile of what is stored. Its absolute lifetime bounds every session, its idle TTL does not count (the cookie's
   * does), and it may have no renewal TTL. `default` where it is absent: 30 days at most, as it ships.
   */
  readonly profile?: string | undefined;
  /** How long a session lives whose cookie has no expiry, 1 to 31,536,000,000; a day by default. */
  readonly ttlMs?: number | undefined;
  /**
   * The namespace holds nothing but this store's sessions. Then the store has `length` and `clear`, which are about all
   * sessions of the namespace.
   */
  readonly ownsNamespace?: boolean | undefined;
}

type Callback = (error?: unknown) => void;

/** A session of the service that is behind one of express-session. */
interface Kept {
  readonly sessionId: string;
  /** Unix milliseconds of this machine. */
  readonly untilMs: number;
}

/** How long a session is to live. */
interface Span {
  /** From now, with the time by which a touch may be put off; 0 or less: its cookie has run out. */
  readonly lifeMs: number;
  /** Unix milliseconds of this machine. */
  readonly untilMs: number;
  readonly slackMs: number;
}

const DAY_MS = 86_400_000;
const MAX_TTL_MS = 365 * DAY_MS;
/** A touch is put off while the last one is younger than a twentieth of the TTL, and than this. */
const MAX_SLACK_MS = 60_000;
/** A user id is up to 128 bytes, and the hash has 43. */
const MAX_PREFIX_BYTES = 85;

const CHECKS: OptionChecks<ShardkeepStoreOptions> = {
  sessions: thing('connect(…).sessions', 'createSession', 'listUserSessions'),
  prefix: optional(textUpTo(MAX_PREFIX_BYTES)),
  profile: optional(name),
  ttlMs: optional(numberFrom(1, MAX_TTL_MS)),
  ownsNamespace: optional(flag),
};

/**
 * Keeps the sessions of express-session as sessions of the service, where nothing evicts them. Use it with `resave: false`.
 *
 * A session that `get` answered is only ever updated: a request that saves it after another has destroyed it brings
 * nothing back. A session ends with its cookie, or up to a twentieth of its TTL later, at most a minute: touches are put off by
 * as much. It may have MAX_SESSION_BYTES; a larger one fails with RangeError. Other failures are ShardkeepErrors, given to
 * the callback.
 *
 * There is no `all` and no `ids`: the service keeps the hash of a sid only, and lists no sessions but those of one user.
 */
export class ShardkeepStore extends Store {
  /** The number of sessions, run out ones among them for some seconds; only with `ownsNamespace`. */
  override length?: (callback: (error: unknown, length?: number) => void) => void;
  /** Ends all sessions; only with `ownsNamespace`. */
  override clear?: (callback?: Callback) => void;

  private readonly sessions: Sessions;
  private readonly prefix: string;
  private readonly profile: string;
  private readonly ttlMs: number;
  /** By the objects that express-session was given, and made of them. */
  private readonly kept = new WeakMap<object, Kept>();

  /** Throws InvalidArgumentError for options that are wrong or misspelt. */
  constructor(options: ShardkeepStoreOptions) {
    super();
    checkOptions('ShardkeepStore', options, CHECKS);
    const { sessions, prefix, profile, ttlMs, ownsNamespace } = options;
    this.sessions = sessions;
    this.prefix = prefix ?? 'express:';
    this.profile = profile ?? '';
    this.ttlMs = ttlMs ?? DAY_MS;
    if (ownsNamespace !== true) return;
    this.length = (callback) => {
      settle(
        sessions.getSessionStats().then(({ activeSessions }) => activeSessions),
        callback,
      );
    };
    this.clear = (callback) => {
      settle(this.destroyAll(), callback);
    };
  }

  override get(sid: string, callback: (error: unknown, session?: SessionData | null) => void): void {
    settle(this.read(sid), callback);
  }

  override set(sid: string, session: SessionData, callback?: Callback): void {
    settle(this.write(sid, session), callback);
  }

  override touch(sid: string, session: SessionData, callback?: Callback): void {
    settle(this.renew(sid, session), callback);
  }

  override destroy(sid: string, callback?: Callback): void {
    settle(this.end(sid), callback);
  }

  override createSession(
    request: Parameters<Store['createSession']>[0],
    data: SessionData,
  ): ExpressSession & SessionData {
    const session = super.createSession(request, data);
    const kept = this.kept.get(data);
    if (kept !== undefined) this.kept.set(session, kept);
    return session;
  }

  private async read(sid: string): Promise<SessionData | null> {
    const found = await this.find(sid);
    if (found === undefined) return null;
    const untilMs = untilOf(found.metadata);
    if (untilMs === undefined || untilMs <= Date.now()) return null;
    const session = readSession(found.metadata);
    this.kept.set(session, { sessionId: found.sessionId, untilMs });
    return session;
  }

  private async write(sid: string, session: SessionData): Promise<void> {
    const { lifeMs, untilMs } = this.spanOf(session);
    if (lifeMs <= 0) return this.end(sid);
    const changes = sessionMetadata(session, untilMs);
    const known = this.kept.get(session);
    const sessionId = known?.sessionId ?? (await this.find(sid))?.sessionId;
    const updated = sessionId !== undefined && (await this.update(sessionId, changes, lifeMs));
    if (updated) {
      this.kept.set(session, { sessionId, untilMs });
      return;
    }
    // what was there when the request began has been ended since
    if (known !== undefined) return;
    this.kept.set(session, { sessionId: await this.create(sid, changes, lifeMs), untilMs });
  }

  private async renew(sid: string, session: SessionData): Promise<void> {
    const { lifeMs, untilMs, slackMs } = this.spanOf(session);
    if (lifeMs <= 0) return this.end(sid);
    const kept = this.kept.get(session) ?? (await this.keptOf(sid));
    if (kept === undefined) return;
    if (Math.abs(untilMs - kept.untilMs) < slackMs) return;
    const { sessionId } = kept;
    const metadata = leaseMetadata({ untilMs, cookie: session.cookie });
    if (await this.update(sessionId, { metadata }, lifeMs)) this.kept.set(session, { sessionId, untilMs });
  }

  private async end(sid: string): Promise<void> {
    const { sessions } = await this.sessions.listUserSessions(this.userIdOf(sid));
    await Promise.all(sessions.map(({ sessionId }) => this.sessions.destroySession(sessionId)));
  }

  private async destroyAll(): Promise<void> {
    for await (const { done } of this.sessions.destroyAllSessions()) if (done) return;
  }

  /** The newest, should there be several. */
  private async find(sid: string): Promise<Session | undefined> {
    return (await this.sessions.listUserSessions(this.userIdOf(sid))).sessions.at(-1);
  }

  private async keptOf(sid: string): Promise<Kept | undefined> {
    const found = await this.find(sid);
    return found && { sessionId: found.sessionId, untilMs: untilOf(found.metadata) ?? 0 };
  }

  /** False: the session is not there, or has ended. */
  private async update(
    sessionId: string,
    changes: Parameters<Sessions['updateSession']>[1],
    lifeMs: number,
  ): Promise<boolean> {
    try {
      const session = await this.sessions.updateSession(sessionId, changes);
      if (endsBefore(session, lifeMs)) await this.sessions.extendSession(sessionId, { ttlMs: lifeMs });
      return true;
    } catch (error) {
      if (error instanceof NotFoundError) return false;
      throw error;
    }
  }

  /** Answers the id of the session that is there then; of several that begin at once there is one. */
  private async create(
    sid: string,
    changes: ReturnType<typeof sessionMetadata>,
    lifeMs: number,
    requestId?: string,
  ): Promise<string> {
    const login = { userId: this.userIdOf(sid), profile: this.profile, idleTtlMs: lifeMs, metadata: changes.metadata };
    const created = await this.sessions.createSession({ ...login, requestId: requestId ?? hash(`request:${sid}`) });
    // it was there before and was ended; who sets it now without having read it wants a new one
    if (created.status === 'request_spent' && requestId === undefined) return this.create(sid, changes, lifeMs, '');
    if (created.status !== 'created') throw new Error(`the service does not let the session in: ${created.status}`);
    const { sessionId, metadata } = created.session;
    const isOther = Object.entries(changes.metadata).some(([key, value]) => metadata[key] !== value);
    if (isOther) await this.update(sessionId, changes, lifeMs);
    return sessionId;
  }

  private userIdOf(sid: string): string {
    return this.prefix + hash(sid);
  }

  private spanOf(session: SessionData): Span {
    const now = Date.now();
    const ttlMs = Math.min((expiryOf(session) ?? now + this.ttlMs) - now, MAX_TTL_MS);
    const slackMs = Math.min(ttlMs / 20, MAX_SLACK_MS);
    const lifeMs = Math.ceil(Math.min(ttlMs + slackMs, MAX_TTL_MS));
    return { lifeMs, untilMs: now + lifeMs, slackMs };
  }
}

/** Of the cookie; undefined where it has none. */
function expiryOf(session: Partial<SessionData>): number | undefined {
  const cookie: { readonly expires?: unknown } = session.cookie ?? {};
  const { expires } = cookie;
  // of a session that was parsed it is a text, and `false` makes a cookie without expiry
  return expires instanceof Date || typeof expires === 'string' ? new Date(expires).getTime() : undefined;
}

/** Whether a session that was just touched ends too early, though nothing but its idle TTL bounds it. */
function endsBefore(session: Session, lifeMs: number): boolean {
  const { expiresAtMs, lastActiveMs, absoluteExpiresAtMs, announcedEnd } = session;
  const bounded = expiresAtMs === absoluteExpiresAtMs || expiresAtMs === announcedEnd?.endedAtMs;
  return !bounded && expiresAtMs - lastActiveMs < lifeMs;
}

/** The service, and Redis, see no sid: whoever reads them cannot make a cookie of it. */
function hash(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}

/** Calls back once, outside of the promise: what the callback throws is not taken for a failure of the store. */
function settle<Value>(work: Promise<Value>, callback: ((error: unknown, value?: Value) => void) | undefined): void {
  work.then(
    (value) => {
      if (callback !== undefined) process.nextTick(callback, null, value);
    },
    (error: unknown) => {
      if (callback !== undefined) process.nextTick(callback, error);
    },
  );
}
