import {
  CharacterClaimPolicy,
  type CharacterClaim,
  type ClaimCharacterRequest,
  type ClaimCharacterResponse,
  type CreateSessionRequest,
  type Session,
} from '../../src/gen/shardkeep/session/v1/session.js';
import { keys, partitionOfUser } from '../../src/redis/keys.js';
import type { RawRedis } from '../support/raw-redis.js';
import { policiesFile, type TestService } from '../support/service.js';

/** Sessions that claim characters, for tests. */

export const { REJECT, TAKEOVER, TAKEOVER_AFTER_DRAIN } = CharacterClaimPolicy;

const profile = { idle_ttl_ms: 600_000, absolute_ttl_ms: 3_600_000, touch_granularity_ms: 0 };
export const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: {
    many: { ...profile, max_sessions: 0, at_limit: 'evict_oldest' },
    one: { ...profile, max_sessions: 1, at_limit: 'evict_oldest' },
    endless: { ...profile, absolute_ttl_ms: 0, max_sessions: 0, at_limit: 'evict_oldest' },
  },
});

export async function login(
  { sessions }: Pick<TestService, 'sessions'>,
  userId: string,
  options: Partial<CreateSessionRequest> = {},
): Promise<Session> {
  const { session } = await sessions.createSession({ userId, profile: 'many', ...options });
  if (session === undefined) throw new Error('not created');
  return session;
}

export function claim(
  { sessions }: Pick<TestService, 'sessions'>,
  { userId, sessionId }: Pick<Session, 'userId' | 'sessionId'>,
  options: Partial<ClaimCharacterRequest> = {},
): Promise<ClaimCharacterResponse> {
  return sessions.claimCharacter({ userId, sessionId, characterId: 'hero', ...options });
}

/** The claim of an answer that must have one. */
export function claimIn({ claim: found }: { readonly claim: CharacterClaim | undefined }): CharacterClaim {
  if (found === undefined) throw new Error('no claim');
  return found;
}

const EXPIRES_AT = '32';

/** Lets a session run out now without anybody noticing. Redis has the clock of this machine. */
export async function expire(
  raw: RawRedis,
  namespace: string,
  { userId, sessionId }: Pick<Session, 'userId' | 'sessionId'>,
): Promise<void> {
  const nowMs = Buffer.alloc(6);
  nowMs.writeUIntBE(Date.now(), 0, 6);
  await raw.command('SETRANGE', keys.session(namespace, partitionOfUser(userId), sessionId), EXPIRES_AT, nowMs);
}

/** The events of a user, each as its fields. */
export async function eventsOf(
  raw: RawRedis,
  namespace: string,
  userId: string,
  type: string,
): Promise<Readonly<Record<string, string>>[]> {
  const { events } = keys.sessions(namespace, partitionOfUser(userId));
  const entries = (await raw.command('XRANGE', events, '-', '+')) as [Buffer, Buffer[]][];
  return entries
    .map(([, flat]) => {
      const fields: Record<string, string> = {};
      for (let at = 0; at < flat.length; at += 2) fields[String(flat[at])] = String(flat[at + 1]);
      return fields;
    })
    .filter((fields) => fields.user === userId && fields.type === type);
}
