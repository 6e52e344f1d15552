import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { pino } from 'pino';
import type { RedisConnection, RedisTarget } from '../../src/redis/connection.js';
import { createConnection } from '../../src/redis/create-connection.js';
import { OutageLog } from '../../src/redis/outage-log.js';
import { PushConnection } from '../../src/redis/push-connection.js';
import { startRedis, until } from '../support/redis-server.js';
import { portOf } from '../support/tcp-proxy.js';

/** What the log says of a Redis that is away, while it is tried again and again. */

interface Line {
  readonly level: number;
  readonly msg: string;
  readonly address?: string;
  readonly code?: string;
  readonly suppressed?: number;
}

let lines: Line[];
const logger = pino({ level: 'info' }, { write: (line: string) => lines.push(JSON.parse(line) as Line) });
const warnings = (): Line[] => lines.filter(({ level }) => level >= 40);
const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });

beforeEach(() => {
  lines = [];
});

describe('the log of outages', () => {
  beforeEach(() => {
    jest.useFakeTimers();
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  test('tells an error once, after 30 s again with how many there were', () => {
    const log = new OutageLog(logger);
    for (let tries = 0; tries < 5; tries++) log.failed('a:1', refused, 'away');
    jest.advanceTimersByTime(29_999);
    log.failed('a:1', refused, 'away');
    expect(lines).toEqual([
      expect.objectContaining({ level: 40, address: 'a:1', code: 'ECONNREFUSED', suppressed: 0 }),
    ]);
    expect(lines[0]).not.toHaveProperty('err');
    jest.advanceTimersByTime(1);
    log.failed('a:1', refused, 'away');
    log.failed('a:1', refused, 'away');
    expect(lines.map(({ suppressed }) => suppressed)).toEqual([0, 5]);
  });

  test('tells the next outage, another reason and another address at once', () => {
    const log = new OutageLog(logger);
    log.failed('a:1', refused, 'away');
    log.failed('a:1', Object.assign(new Error('no such host'), { code: 'ENOTFOUND' }), 'away');
    log.failed('b:1', refused, 'away');
    log.connected('a:1');
    log.failed('a:1', refused, 'away');
    log.failed('b:1', refused, 'away');
    expect(lines.map(({ address, code }) => `${String(address)} ${String(code)}`)).toEqual([
      'a:1 ECONNREFUSED',
      'a:1 ENOTFOUND',
      'b:1 ECONNREFUSED',
      'a:1 ECONNREFUSED',
    ]);
  });

  test('says what each address of a name answered', () => {
    const both = Object.assign(new AggregateError([refused, new Error('unreachable')]), { code: 'ECONNREFUSED' });
    new OutageLog(logger).failed('localhost:1', both, 'away');
    expect(lines).toEqual([
      expect.objectContaining({ code: 'ECONNREFUSED', reason: 'connect ECONNREFUSED; unreachable' }),
    ]);
  });
});

describe('a server that breaks each connection', () => {
  let server: Server;
  let port: number;
  let tries: number;
  beforeEach(async () => {
    tries = 0;
    server = createServer((socket) => {
      tries++;
      socket.on('error', () => undefined).destroy();
    });
    port = await portOf(server);
  });
  afterEach(async () => {
    server.close();
    await once(server, 'close');
  });

  const kindsOf = (all: readonly Line[]): string[] => all.map(({ msg, code }) => `${msg} ${String(code)}`);

  test.each(['standalone', 'cluster', 'pushes'] as const)('is told once a reason: %s', async (kind) => {
    const here = { host: '127.0.0.1', port };
    const standalone = { topology: 'standalone', ...here, database: 0, tls: false } as const;
    const target: RedisTarget = kind === 'cluster' ? { topology: kind, seeds: [here], tls: false } : standalone;
    const events = { onNodeReady: () => Promise.resolve(), onStateChange: () => undefined };
    const connection: Pick<RedisConnection, 'close'> & Partial<RedisConnection> =
      kind === 'pushes'
        ? closable(
            new PushConnection(standalone, undefined, logger, { onAlive: () => undefined, onLost: () => undefined }),
          )
        : createConnection(target, events, { logger });
    connection.connect?.();
    await until(() => tries >= 6);
    await connection.close();
    const told = warnings();
    expect(told.length).toBeGreaterThan(0);
    expect(new Set(kindsOf(told)).size).toBe(told.length);
    for (const line of told) expect(line).toMatchObject({ address: `127.0.0.1:${String(port)}`, suppressed: 0 });
    for (const line of told) expect(line).not.toHaveProperty('err');
  });
});

function closable(pushes: PushConnection): Pick<RedisConnection, 'close'> {
  return {
    close: () => {
      pushes.close();
      return Promise.resolve();
    },
  };
}

test('each outage of a Redis is told, and its end', async () => {
  const redis = await startRedis();
  const target = { topology: 'standalone', host: '127.0.0.1', port: redis.port, database: 0, tls: false } as const;
  const events = { onNodeReady: () => Promise.resolve(), onStateChange: () => undefined };
  const connection = createConnection(target, events, { logger });
  try {
    connection.connect();
    const isUp = (times: number): boolean => lines.filter(({ msg }) => msg === 'redis connected').length === times;
    await until(() => isUp(1));
    for (let outage = 1; outage <= 2; outage++) {
      lines = [];
      await redis.stop('SIGKILL');
      await until(() => warnings().some(({ code }) => code === 'ECONNREFUSED'));
      await redis.restart();
      await until(() => isUp(1));
      expect(warnings().filter(({ code }) => code === 'ECONNREFUSED')).toHaveLength(1);
    }
  } finally {
    await connection.close();
    await redis.remove();
  }
});
