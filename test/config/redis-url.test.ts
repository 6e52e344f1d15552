import { describe, expect, test } from '@jest/globals';
import { parseRedisUrl } from '../../src/config/redis-url.js';

describe('the address of a Redis', () => {
  const standalone = { topology: 'standalone', tls: false, host: 'redis', port: 6379, database: 0 };
  test.each([
    ['redis://redis', standalone],
    ['redis://redis/', standalone],
    ['redis://redis:7000', { ...standalone, port: 7000 }],
    ['redis://redis:80', { ...standalone, port: 80 }],
    ['redis://redis:443/3', { ...standalone, port: 443, database: 3 }],
    ['redis://:secret@redis', { ...standalone, password: 'secret' }],
    ['redis://sidecar:p%40ss%2Fw%C3%B6rd%25@redis', { ...standalone, username: 'sidecar', password: 'p@ss/wörd%' }],
    ['rediss://redis', { ...standalone, tls: true }],
    ['redis://[::1]:7000', { ...standalone, host: '::1', port: 7000 }],
    ['redis://[fe80::80]', { ...standalone, host: 'fe80::80' }],
    ['unix:/run/redis.sock', { topology: 'standalone', tls: false, socketPath: '/run/redis.sock', database: 0 }],
    ['unix:///run/redis.sock?db=2', { topology: 'standalone', tls: false, socketPath: '/run/redis.sock', database: 2 }],
    ['redis+cluster://a:7000', { topology: 'cluster', tls: false, seeds: [{ host: 'a', port: 7000 }] }],
    [
      'rediss+cluster://sidecar:a,b@a:80,b,[::1]:7001',
      {
        topology: 'cluster',
        tls: true,
        seeds: [
          { host: 'a', port: 80 },
          { host: 'b', port: 6379 },
          { host: '::1', port: 7001 },
        ],
        username: 'sidecar',
        password: 'a,b',
      },
    ],
    [
      'redis+sentinel://sidecar:a%2Fb@a,[::1]:7001/my%20master/3',
      {
        topology: 'sentinel',
        tls: false,
        sentinels: [
          { host: 'a', port: 26379 },
          { host: '::1', port: 7001 },
        ],
        masterName: 'my master',
        database: 3,
        username: 'sidecar',
        password: 'a/b',
      },
    ],
    [
      'rediss+sentinel://a:80/m',
      { topology: 'sentinel', tls: true, sentinels: [{ host: 'a', port: 80 }], masterName: 'm', database: 0 },
    ],
  ])('%s is understood', (url, target) => {
    expect(parseRedisUrl(url)).toEqual(target);
  });

  test.each([
    [''],
    ['redis'],
    ['redis+sentinel://a:26379'],
    ['redis+sentinel://a:26379/'],
    ['redis+sentinel://a:26379/m/x'],
    ['redis+sentinel://a:26379/m/0/more'],
    ['redis:6379'],
    ['http://redis'],
    ['sentinel://redis'],
    ['redis://'],
    ['redis://:6379'],
    ['redis://redis:port'],
    ['redis://redis:0'],
    ['redis://redis:65536'],
    ['redis://redis/one'],
    ['redis://redis/0/1'],
    ['redis://redis?db=1'],
    ['redis+cluster://'],
    ['redis+cluster://a:7000,,b:7000'],
    ['redis+cluster://a:7000/1'],
    ['redis+cluster://a:7000,b:7000/1'],
    ['unix:redis.sock'],
    ['unix://host/redis.sock'],
    ['unix:/'],
    ['unix:/run/redis.sock?db=one'],
  ])('%j is refused', (url) => {
    expect(() => parseRedisUrl(url)).toThrow();
  });

  test.each([
    ['redis://sidecar:12#sesame@redis:6379'],
    ['redis://sidecar:12?sesame@redis:6379'],
    ['redis://sidecar:12/sesame@redis:6379'],
    ['redis://:100%sesame@redis:6379'],
    ['redis+cluster://:sesame@:1'],
    ['redis://:sesame@redis:port'],
    ['sesame://:sesame@redis'],
  ])('%s is refused without telling the password', (url) => {
    expect(() => parseRedisUrl(url)).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining('sesame') }),
    );
  });
});
