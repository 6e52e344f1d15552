import { createHash } from 'node:crypto';
import { PLACEHOLDER, placeholdersOf, type DescriptorSettings } from '../../config/envoy-domains.js';

export interface DescriptorEntry {
  readonly key: string;
  readonly value: string;
}

/** What a descriptor is limited by. */
export interface DescriptorLimit {
  readonly policy: string;
  readonly subject: string;
  /** '' for none. */
  readonly role: string;
  /** Units count even if they are more than is left. */
  readonly chargeDenied: boolean;
}

const MAX_SUBJECT_BYTES = 256;

/**
 * What limits a descriptor of a domain; undefined: nothing does. Of the rules for an entry the one with its very value goes
 * before those with a beginning of it, the longest first, and those before one for any value; what is behind the others is
 * not looked at.
 */
export function limitOf(
  domain: string,
  rules: readonly DescriptorSettings[],
  entries: readonly DescriptorEntry[],
): DescriptorLimit | undefined {
  let left = rules;
  let last: DescriptorSettings | undefined;
  for (const entry of entries) {
    last = ruleFor(entry, left);
    if (last === undefined) return undefined;
    left = last.descriptors ?? [];
  }
  if (last?.policy === undefined) return undefined;
  const { policy, subject, role = '', charge_denied: chargeDenied = false } = last;
  return {
    policy,
    subject: subject === undefined ? descriptorSubject(domain, entries) : boundedSubject(filledIn(subject, entries)),
    role: filledIn(role, entries),
    chargeDenied,
  };
}

/** How a descriptor is called that is limited as itself. */
export function descriptorSubject(domain: string, entries: readonly DescriptorEntry[]): string {
  const names = entries.map(({ key, value }) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`);
  return boundedSubject([encodeURIComponent(domain), ...names].join('/'));
}

/**
 * Of several values all but the last are encoded, or whoever chooses one of them could write the colon between them and
 * spend the units of others.
 */
function filledIn(template: string, entries: readonly DescriptorEntry[]): string {
  const values = new Map(entries.map(({ key, value }) => [key, value]));
  let left = placeholdersOf(template).length;
  return template.replace(PLACEHOLDER, (_, key: string) => {
    const value = values.get(key) ?? '';
    return --left === 0 ? value : encodeURIComponent(value);
  });
}

/** A longer one is known by its hash; so is an empty one, which has no slot of its own on a Cluster. */
function boundedSubject(subject: string): string {
  if (subject !== '' && Buffer.byteLength(subject) <= MAX_SUBJECT_BYTES) return subject;
  return `sha256:${createHash('sha256').update(subject, 'utf8').digest('hex')}`;
}

function ruleFor(
  { key, value }: DescriptorEntry,
  rules: readonly DescriptorSettings[],
): DescriptorSettings | undefined {
  let best: DescriptorSettings | undefined;
  let bestRank = -1;
  for (const rule of rules) {
    if (rule.key !== key) continue;
    const rank = rankOf(rule.value, value);
    if (rank > bestRank) [best, bestRank] = [rule, rank];
  }
  return best;
}

/** How well a rule's value fits; below 0: it does not. */
function rankOf(pattern: string | undefined, value: string): number {
  if (pattern === undefined) return 0;
  if (pattern === value) return Number.POSITIVE_INFINITY;
  if (pattern.endsWith('*') && value.startsWith(pattern.slice(0, -1))) return pattern.length;
  return -1;
}
