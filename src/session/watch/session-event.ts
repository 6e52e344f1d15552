import { END_CAUSES, type EndCause } from '../scripts.js';
import { decodeIdentifier } from '../../redis/keys.js';
import type { StreamEntry } from '../watch-scripts.js';

/** As scripts write them. */
export const EVENT_TYPES = [
  'created',
  'updated',
  'rotated',
  'warned',
  'character_taken',
  'destroyed',
  'expired',
  'evicted',
  'theft',
] as const;
export type EventType = (typeof EVENT_TYPES)[number];

/** What became of a session, and where that stands in the stream of its partition. */
export interface SessionEvent {
  readonly partition: number;
  /** In the stream. */
  readonly id: string;
  /** How many events the stream had had with this one. */
  readonly number: number;
  readonly type: EventType;
  readonly sessionId: string;
  readonly userId: string;
  /** When it was written, by Redis's clock. */
  readonly atMs: number;
  /** Undefined: none, or one that this version does not know. */
  readonly cause: EndCause | undefined;
  readonly reason: string;
  readonly message: string;
  /** 0: none. */
  readonly effectiveAtMs: number;
  readonly characterId: string;
}

const KNOWN_TYPES: ReadonlySet<string> = new Set(EVENT_TYPES);

function isKnown(type: string | undefined): type is EventType {
  return type !== undefined && KNOWN_TYPES.has(type);
}

/** Undefined: of a type that only a newer service knows. */
export function readEvent(partition: number, number: number, { id, fields }: StreamEntry): SessionEvent | undefined {
  const type = fields.get('type');
  if (!isKnown(type)) return undefined;
  return {
    partition,
    id,
    number,
    type,
    sessionId: fields.get('session') ?? '',
    userId: decodeIdentifier(fields.get('user') ?? ''),
    atMs: streamIdMs(id),
    cause: END_CAUSES[Number(fields.get('cause') ?? 0) - 1],
    reason: fields.get('reason') ?? '',
    message: fields.get('message') ?? '',
    effectiveAtMs: Number(fields.get('effective_at') ?? 0),
    characterId: fields.get('character') ?? '',
  };
}

/** The time in the id of an entry. */
export function streamIdMs(id: string): number {
  return Number(id.slice(0, id.indexOf('-')));
}

/** Below 0: the first one is the earlier one. */
export function compareStreamIds(one: string, other: string): number {
  return streamIdMs(one) - streamIdMs(other) || streamIdSequence(one) - streamIdSequence(other);
}

export function streamIdSequence(id: string): number {
  return Number(id.slice(id.indexOf('-') + 1));
}
