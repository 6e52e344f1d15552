import type { Check } from './check.js';
import type { EvidenceBook } from './evidence.js';
import type { StoryOutcome } from './story.js';

/** A call that ended a session: it happened after `earliestUs` and before `latestUs`. */
interface End {
  readonly earliestUs: number;
  readonly latestUs: number;
}

/** A token that is presented after the end was answered must not open anything. */
export function checkDeadSessions(evidence: EvidenceBook): Check {
  const ends = findEnds(evidence);
  const afterwards = evidence.all('session_validated').filter(({ sessionId, startedUs }) => {
    return (ends.get(sessionId) ?? []).some(({ latestUs }) => latestUs < startedUs);
  });
  const problems = afterwards
    .filter(({ valid }) => valid)
    .map(({ sessionId, shard }) => `session ${sessionId} opened on ${shard} after its end`);
  if (afterwards.length === 0) problems.push('no dead token was ever presented');
  return {
    name: 'no destroyed session validated',
    problems,
    seen: `${String(ends.size)} sessions ended, their tokens presented ${String(afterwards.length)} times afterwards`,
  };
}

/** The other side: a token that is presented before anyone asked to end its session must open it. */
export function checkLiveSessions(evidence: EvidenceBook): Check {
  const ends = findEnds(evidence);
  const before = evidence.all('session_validated').filter(({ sessionId, answeredUs }) => {
    return (ends.get(sessionId) ?? []).every(({ earliestUs }) => answeredUs < earliestUs);
  });
  const problems = before
    .filter(({ valid }) => !valid)
    .map(({ sessionId, cause, shard }) => `live session ${sessionId} was turned away on ${shard}: ${cause}`);
  return { name: 'no live session was turned away', problems, seen: `${String(before.length)} validations` };
}

/** None of the user's logins after the ban was answered made a session. */
export function checkBan(evidence: EvidenceBook, banned: StoryOutcome['banned']): Check {
  const bannedUs = Math.min(...evidence.all('user_banned').map(({ answeredUs }) => answeredUs));
  const problems = evidence
    .all('session_created')
    .filter(({ userId, startedUs }) => userId === banned?.userId && startedUs > bannedUs)
    .map(({ userId, sessionId }) => `${userId} was let in again: session ${sessionId}`);
  if (banned === undefined) problems.push('nobody was banned');
  else if (banned.loginAfterwards !== 'blocked') problems.push(`the next login answered ${banned.loginAfterwards}`);
  const destroyed = evidence.all('user_banned').reduce((sum, { destroyedCount }) => sum + destroyedCount, 0);
  if (destroyed === 0) problems.push('the ban ended no session');
  return { name: 'the banned player stayed out', problems, seen: `${String(destroyed)} sessions ended by the ban` };
}

/** Who logged in more often than the profile allows has lost an older session for each login too many. */
export function checkEvictions(evidence: EvidenceBook, userIds: readonly string[], maxSessions: number): Check {
  const created = evidence.all('session_created').filter(({ userId }) => userIds.includes(userId));
  const problems = userIds.flatMap((userId) => {
    const ofUser = created.filter((entry) => entry.userId === userId);
    const live = ofUser.length - ofUser.flatMap(({ evicted }) => evicted).length;
    return live > maxSessions ? [`${userId} had ${String(live)} sessions at once`] : [];
  });
  if (created.length <= userIds.length * maxSessions) problems.push('nobody went beyond the limit');
  return {
    name: 'logins beyond the limit evicted older sessions',
    problems,
    seen: `${String(created.length)} logins of ${String(userIds.length)} players, limit ${String(maxSessions)} each`,
  };
}

function findEnds(evidence: EvidenceBook): Map<string, End[]> {
  const ends = new Map<string, End[]>();
  const add = (sessionId: string, call: { startedUs: number; answeredUs: number }): void => {
    const end = { earliestUs: call.startedUs, latestUs: call.answeredUs };
    ends.set(sessionId, [...(ends.get(sessionId) ?? []), end]);
  };
  const created = evidence.all('session_created');
  for (const login of created) for (const sessionId of login.evicted) add(sessionId, login);
  for (const destroyed of evidence.all('session_destroyed')) add(destroyed.sessionId, destroyed);
  for (const ban of evidence.all('user_banned')) {
    // a login that was under way during the ban may have come before or after it; this program makes none
    const hit = created.filter(({ userId, answeredUs }) => userId === ban.userId && answeredUs < ban.startedUs);
    for (const { sessionId } of hit) add(sessionId, ban);
  }
  return ends;
}
