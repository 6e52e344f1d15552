import { createHash } from 'node:crypto';
import { isIP } from 'node:net';

const MAX_SUBJECT_BYTES = 256;

/**
 * The subject that a key is counted as. An address becomes `ip:…`, which the service counts by its network; a key that no
 * subject can be, since it is too long or no valid text, becomes its digest: what a client sends must not make the check fail.
 */
export function subjectOf(key: string): string {
  if (isIP(key) !== 0) return `ip:${key}`;
  const isText = !/\p{Surrogate}|\uFFFD|\0/u.test(key);
  if (isText && Buffer.byteLength(key) <= MAX_SUBJECT_BYTES) return key;
  // as UTF-16, where different keys are different bytes
  return `sha256:${createHash('sha256').update(key, 'utf16le').digest('base64url')}`;
}

/**
 * Who is logged in, as common middleware leaves it on a request: `user.id`, `user.userId` or `user.sub`, then
 * `session.userId` or `session.user.id`, then `gameSession.userId`, which requireSession sets.
 */
export function userIdOf(request: object): string | undefined {
  const user = memberOf(request, 'user');
  const session = memberOf(request, 'session');
  const ids = [
    ...['id', 'userId', 'sub'].map((name) => memberOf(user, name)),
    memberOf(session, 'userId'),
    memberOf(memberOf(session, 'user'), 'id'),
    memberOf(memberOf(request, 'gameSession'), 'userId'),
  ];
  return ids.map(textOf).find((id) => id !== undefined);
}

function memberOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (Reflect.get(value, name) as unknown) : undefined;
}

function textOf(id: unknown): string | undefined {
  if (typeof id === 'number' || typeof id === 'bigint') return String(id);
  return typeof id === 'string' && id !== '' ? id : undefined;
}
