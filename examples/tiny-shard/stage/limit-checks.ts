import type { Check } from './check.js';
import type { EvidenceBook, EvidenceOf } from './evidence.js';
import type { BruteForce, Flood } from './scenes.js';

/** The policies `chat` and `auth` as they ship. The window of `auth`, 15 minutes, is longer than any run. */
const CHAT_LIMIT = 10;
const CHAT_WINDOW_US = 10_000_000;
const AUTH_LIMIT = 5;

/** Redis measures the window by another clock than ours. */
const CLOCK_SLACK = 0.995;

/**
 * An admitted message was counted at some moment between its question and its answer. So eleven that were asked and
 * answered within one window are certainly one too many, and nothing else is: no false alarm on a slow machine.
 */
export function checkFloods(evidence: EvidenceBook, floods: readonly Flood[]): Check {
  const admitted = evidence.all('chat_checked').filter(({ allowed }) => allowed);
  const problems = [...groupBy(admitted, ({ userId }) => userId)].flatMap(([userId, messages]) => {
    const most = mostInAWindow(messages);
    return most > CHAT_LIMIT ? [`${userId} got ${String(most)} messages through in 10 s`] : [];
  });
  if (floods.length === 0) problems.push('nobody flooded the chat');
  for (const { userId, sent, delivered } of floods) {
    if (delivered === 0 || delivered === sent)
      problems.push(`${String(delivered)} of ${String(sent)} passed from ${userId}`);
  }
  return {
    name: 'no chat flood was let through',
    problems,
    seen: floods.map(({ sent, delivered }) => `${String(delivered)} of ${String(sent)}`).join(' and ') + ' delivered',
  };
}

/** Counts by address and by account, whatever was tried with both. */
export function checkBruteForce(evidence: EvidenceBook, bruteForces: readonly BruteForce[]): Check {
  const admitted = evidence.all('auth_checked').filter(({ allowed }) => allowed);
  const bySubject = [
    ...groupBy(admitted, ({ ip }) => `ip ${ip}`),
    ...groupBy(admitted, ({ userId }) => `user ${userId}`),
  ];
  const problems = bySubject
    .filter(([, attempts]) => attempts.length > AUTH_LIMIT)
    .map(([subject, attempts]) => `${subject} was let through ${String(attempts.length)} times`);
  if (bruteForces.length === 0) problems.push('nobody guessed');
  for (const { attempts, denied } of bruteForces) {
    if (denied < attempts - AUTH_LIMIT)
      problems.push(`only ${String(denied)} of ${String(attempts)} guesses were denied`);
    if (denied === attempts) problems.push('nobody was let through at all');
  }
  return {
    name: 'login brute force was held to 5',
    problems,
    seen:
      bruteForces.map(({ attempts, denied }) => `${String(attempts - denied)} of ${String(attempts)}`).join(' and ') +
      ' admitted',
  };
}

function mostInAWindow(messages: readonly EvidenceOf<'chat_checked'>[]): number {
  return Math.max(
    ...messages.map(({ startedUs }) => {
      const endUs = startedUs + CHAT_WINDOW_US * CLOCK_SLACK;
      return messages.filter((other) => other.startedUs >= startedUs && other.answeredUs <= endUs).length;
    }),
  );
}

function groupBy<Entry>(entries: readonly Entry[], keyOf: (entry: Entry) => string): Map<string, Entry[]> {
  const groups = new Map<string, Entry[]>();
  for (const entry of entries) {
    const group = groups.get(keyOf(entry));
    if (group === undefined) groups.set(keyOf(entry), [entry]);
    else group.push(entry);
  }
  return groups;
}
