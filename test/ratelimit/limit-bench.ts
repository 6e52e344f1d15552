import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll } from '@jest/globals';
import { pino } from 'pino';
import { createClient, RESP_TYPES } from 'redis';
import { limitArguments, limitKeys, recordOf, type Ask } from '../../src/ratelimit/limit-scripts.js';
import {
  checkRateLimitScript,
  peekRateLimitScript,
  rateLimitScripts,
  refundRateLimitScript,
  type Decision,
  type LimitReply,
  type OtherWindow,
} from '../../src/ratelimit/scripts.js';
import { StandingStore } from '../../src/ratelimit/standing-store.js';
import { RateLimitStore } from '../../src/ratelimit/store.js';
import type { LimitTerms } from '../../src/ratelimit/terms.js';
import type { Call } from '../../src/redis/call.js';
import { keys } from '../../src/redis/keys.js';
import { Redis } from '../../src/redis/redis.js';
import { until } from '../support/redis-server.js';
import { randomNamespace, sharedRedisUrl } from '../support/service.js';

/** One decision about one limit or several. */
export interface Decided {
  readonly admitted: boolean;
  readonly nowUs: number;
  readonly units: number;
  readonly limits: readonly LimitReply[];
}

const PASS_TIME = readFileSync(fileURLToPath(new URL('pass-time.lua', import.meta.url)), 'utf8');

/** The scripts of rate limits on the shared standalone Redis, whose records can be made older or of the future. */
export class LimitBench {
  private readonly port = Number(new URL(sharedRedisUrl('standalone')).port);
  readonly redis = new Redis({
    target: { topology: 'standalone', host: '127.0.0.1', port: this.port, database: 0, tls: false },
    scripts: rateLimitScripts,
    logger: pino({ level: 'silent' }),
  });
  readonly raw = createClient({
    socket: { host: '127.0.0.1', port: this.port },
    commandOptions: { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } },
  });
  readonly store = new RateLimitStore(this.redis, pino({ level: 'silent' }));
  readonly people = new StandingStore(this.redis);
  readonly call: Call = { namespace: randomNamespace(), deadlineAt: Number.POSITIVE_INFINITY, ended: false };

  /** Opened and closed with the test file. */
  static forThisFile(): LimitBench {
    const bench = new LimitBench();
    beforeAll(async () => {
      bench.redis.connect();
      await bench.raw.connect();
      await until(() => bench.redis.isReady);
    });
    afterAll(() => {
      bench.redis.destroy();
      bench.raw.destroy();
    });
    return bench;
  }

  async check(limits: readonly LimitTerms[], ask: Ask): Promise<Decided> {
    return decidedOf(await this.checkCalls(limits, ask, 1));
  }

  /** Several calls that are alike, in one script. */
  async checkCalls(limits: readonly LimitTerms[], ask: Ask, calls: number): Promise<Decision> {
    return decisionOf(await this.ask(checkRateLimitScript, limits, ask, calls));
  }

  async peek(limits: readonly LimitTerms[], ask: Ask): Promise<Decided> {
    return decidedOf(decisionOf(await this.ask(peekRateLimitScript, limits, ask, 1)));
  }

  ask(
    script: typeof checkRateLimitScript,
    limits: readonly LimitTerms[],
    ask: Ask,
    calls: number,
    calendarMs = this.redis.clock.nowMs(),
  ): Promise<Decision | OtherWindow> {
    const bound = script.bind(
      { '...limits': limitKeys(limits, this.call) },
      {
        calls: String(calls),
        minCost: String(ask.minCost),
        chargeDenied: ask.chargeDenied ? '1' : '0',
        '...limits': limits.flatMap((terms) => limitArguments(terms, ask, calendarMs)),
      },
    );
    return this.redis.run(bound, this.call);
  }

  refund(
    terms: LimitTerms,
    mark: number,
    ask: Ask,
    { calendarMs = this.redis.clock.nowMs(), chargedUs = Number.MAX_SAFE_INTEGER } = {},
  ): Promise<number> {
    const bound = refundRateLimitScript.bind(
      { record: recordOf(terms, this.call) },
      {
        mark: String(mark),
        chargedUs: String(chargedUs),
        units: String(terms.cost ?? ask.cost),
        ...{ standing: this.standingKey(terms), channel: 'nobody listens' },
        '...limits': limitArguments(terms, ask, calendarMs),
      },
    );
    return this.redis.run(bound, this.call);
  }

  recordKey(terms: LimitTerms): string {
    return recordOf(terms, this.call);
  }

  standingKey(terms: LimitTerms): string {
    return keys.standing(this.call.namespace, terms.countedAs);
  }

  /**
   * Makes all times of a subject's records earlier, as if so much time had passed; later if it is negative, as if the clock
   * had been set back. For SLIDING_BUCKETS a multiple of the width of a part.
   */
  async passTime(terms: LimitTerms, us: number): Promise<void> {
    await Promise.all(
      [this.recordKey(terms), this.standingKey(terms)].map((key) =>
        this.raw.eval(PASS_TIME, { keys: [key], arguments: [String(us)] }),
      ),
    );
  }

  /** All keys of the namespace with what is in them and when they expire, as text to compare. */
  async dump(): Promise<string> {
    const names: Buffer[] = [];
    for await (const page of this.raw.scanIterator({ MATCH: `${this.call.namespace}:*`, COUNT: 10_000 })) {
      names.push(...page.map((name) => Buffer.from(name)));
    }
    const lines = await Promise.all(
      names.map(async (name) => {
        const [dump, expiry] = await Promise.all([this.raw.dump(name), this.raw.pExpireTime(name)]);
        return `${String(name)} ${Buffer.isBuffer(dump) ? dump.toString('hex') : String(dump)} ${String(expiry)}`;
      }),
    );
    return lines.sort().join('\n');
  }
}

function decisionOf(decision: Decision | OtherWindow): Decision {
  if (decision.admitted === undefined) throw new Error('the window of the calendar is another one');
  return decision;
}

function decidedOf({ admitted, nowUs, units, limits, deniedLimits }: Decision): Decided {
  return { admitted: admitted > 0, nowUs, units, limits: admitted > 0 ? limits : deniedLimits };
}

/** The only limit of a decision. */
export function onlyLimit({ limits }: Decided): LimitReply {
  const [only] = limits;
  if (only === undefined || limits.length > 1) throw new Error('not one limit');
  return only;
}
