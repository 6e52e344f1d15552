import { createHash, randomBytes } from 'node:crypto';
import type { Call } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import type { Redis } from '../redis/redis.js';
import { channelOf, type Ask } from './limit-scripts.js';
import { besideLists } from './listed.js';
import { settleRateLimitScript, type ReservationEnd } from './scripts.js';
import type { RateLimitDecision } from './decision.js';
import type { RateLimitStore } from './store.js';
import type { LimitTerms } from './terms.js';

/** 16 bytes in base64url. */
const ID_CHARS = 22;
const ID_BYTES = 16;
/** Id, and the subject whose slot it is in. */
const RESERVATION = /^([A-Za-z0-9_-]{22})\.([\s\S]{1,512})$/;

export interface Reservation {
  readonly decision: RateLimitDecision;
  /** '' when the call was denied. */
  readonly reservationId: string;
  /** Of the first try, Unix ms of Redis's clock. */
  readonly expiresAtMs: number;
}

export interface Remembered {
  /** What wants it remembered: of two kinds the same request id is not the same call. */
  readonly kind: 'check' | 'reserve';
  /** '': nobody can try it again. */
  readonly requestId: string;
  readonly ttlMs: number;
}

/** Charges that are remembered for a while, so that they can be tried again and corrected. */
export class Reservations {
  constructor(
    private readonly redis: Redis,
    private readonly store: Pick<RateLimitStore, 'reserve'>,
    /** Told of a subject's standing before whoever gave something back is answered. */
    private readonly onRoomMade: (standing: string) => void = () => undefined,
  ) {}

  /** The limits are in one slot. Throws INVALID_FIELD for the request id of a call that asked for something else. */
  async reserve(
    limits: readonly LimitTerms[],
    ask: Ask,
    { kind, requestId, ttlMs }: Remembered,
    call: Call,
  ): Promise<Reservation> {
    const id =
      requestId === ''
        ? randomBytes(ID_BYTES).toString('base64url')
        : digestOf(`${kind}:${requestId}`).slice(0, ID_CHARS);
    const subject = limits[0]?.countedAs ?? '';
    const key = keys.reservation(call.namespace, subject, id);
    // a check with a request id holds slots as one without
    const asking: Ask = { ...ask, holder: id, ...(kind === 'reserve' && { leaseMs: ttlMs }) };
    const memory = { key, ttlMs, asked: askedBy(limits, ask, ttlMs) };
    let nowUs: number | undefined;
    const decision = await besideLists(
      limits,
      ask,
      () => this.redis.clock.nowMs(),
      async (counted) => {
        const made = await this.store.reserve(counted, asking, memory, call);
        nowUs = made.nowUs;
        return made.decision;
      },
    );
    // where lists decide it all there is nothing to settle
    if (!decision.allowed || nowUs === undefined) return { decision, reservationId: '', expiresAtMs: 0 };
    const reservationId = Buffer.from(`${id}.${subject}`, 'utf8').toString('base64url');
    return { decision, reservationId, expiresAtMs: Math.floor(nowUs / 1_000) + ttlMs };
  }

  /** Units that the charge is now; undefined when there is no such reservation, or it was refunded. */
  async settle(reservationId: string, cost: number, call: Call): Promise<number | undefined> {
    const end = await this.end(reservationId, { cost: String(cost), isRefund: '0' }, call);
    return end?.status === 'settled' ? end.units : undefined;
  }

  /** Whether the charge was taken back, by this try or an earlier one. */
  async refund(reservationId: string, call: Call): Promise<boolean> {
    const end = await this.end(reservationId, { cost: '0', isRefund: '1' }, call);
    return end?.status === 'refunded';
  }

  private async end(
    reservationId: string,
    how: { readonly cost: string; readonly isRefund: '0' | '1' },
    call: Call,
  ): Promise<ReservationEnd> {
    const [, id, subject] = RESERVATION.exec(Buffer.from(reservationId, 'base64url').toString('utf8')) ?? [];
    if (id === undefined || subject === undefined) return undefined;
    const { namespace } = call;
    const channel = channelOf(this.redis.topology, namespace, keys.standing(namespace, subject));
    const reservation = keys.reservation(namespace, subject, id);
    const end = await this.redis.run(settleRateLimitScript.bind({ reservation }, { ...how, channel }), call);
    for (const standing of end?.roomMade ?? []) this.onRoomMade(standing);
    return end;
  }
}

/** Tells calls apart. Not by what a limit is at the time: a retry may come after a change of the policies. */
function askedBy(limits: readonly LimitTerms[], { cost, minCost, chargeDenied }: Ask, ttlMs: number): string {
  const terms = limits.map(({ countedAs, policy, cost: own }) => [countedAs, policy.storedName, own ?? 0]);
  return digestOf(JSON.stringify([terms, cost, minCost, chargeDenied, ttlMs])).slice(0, ID_CHARS);
}

/** Bounded, and nothing that could be read in a key. */
function digestOf(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('base64url');
}
