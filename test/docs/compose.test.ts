import { readFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { environmentSchema } from '../../src/config/environment.js';

/** compose.yaml: one machine, confined, and open to nobody else. */

interface Service {
  readonly image: string;
  readonly environment?: Readonly<Record<string, unknown>>;
  readonly command?: readonly string[];
  readonly ports?: readonly string[];
  readonly networks: readonly string[];
  readonly depends_on?: unknown;
  readonly healthcheck?: unknown;
  readonly read_only: unknown;
  readonly user?: string;
}

const compose = parse(readFileSync('compose.yaml', 'utf8'), { merge: true }) as {
  readonly services: Readonly<Record<'shardkeep' | 'redis-state' | 'redis-cache', Service>>;
  readonly networks: Readonly<Record<string, unknown>>;
};
const { services } = compose;
const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { readonly version: string };

test.each(Object.entries(services))('%s is confined', (_, service) => {
  expect(service).toMatchObject({
    read_only: true,
    cap_drop: ['ALL'],
    security_opt: ['no-new-privileges'],
    mem_limit: expect.stringMatching(/^\d+m$/),
  });
});

test('the service has its settings, and they are some', () => {
  const { environment = {}, image } = services.shardkeep;
  const known = readFileSync('.env.example', 'utf8');
  const unknown = Object.keys(environment).filter((name) => !known.includes(`\n#${name}=`));
  expect(unknown.filter((name) => name !== 'ALLOW_ANONYMOUS')).toEqual([]);
  expect(environmentSchema.safeParse(environment).error?.issues ?? []).toEqual([]);
  expect(image).toBe(`shardkeep:${version}`);
});

test('only this machine reaches the service, and only the service reaches Redis', () => {
  for (const port of services.shardkeep.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:/);
  expect(compose.networks.redis).toEqual({ internal: true });
  for (const name of ['redis-state', 'redis-cache'] as const) {
    expect(services[name]).not.toHaveProperty('ports');
    expect(services[name].networks).toEqual(['redis']);
    expect(services.shardkeep.environment).toMatchObject({
      [`${name === 'redis-state' ? 'STATE' : 'CACHE'}_REDIS_URL`]: `redis://${name}:6379`,
    });
  }
});

test('the service waits until both Redis answer', () => {
  expect(services.shardkeep.depends_on).toEqual({
    'redis-state': { condition: 'service_healthy' },
    'redis-cache': { condition: 'service_healthy' },
  });
  expect(services['redis-state'].healthcheck).toMatchObject({ test: ['CMD', 'redis-cli', 'ping'] });
  expect(services['redis-cache'].healthcheck).toEqual(services['redis-state'].healthcheck);
});

test('state is kept and never evicted; the cache is evicted and never kept', () => {
  expect(services['redis-state'].command).toEqual(
    expect.arrayContaining(['--appendonly yes', '--appendfsync everysec', '--maxmemory-policy noeviction']),
  );
  expect(services['redis-cache'].command).toEqual(
    expect.arrayContaining([`--save ''`, '--appendonly no', '--maxmemory-policy allkeys-lru']),
  );
  for (const name of ['redis-state', 'redis-cache'] as const) {
    expect(services[name].image).toMatch(/^\$\{REDIS_IMAGE:-redis:\d+\.\d+\.\d+-bookworm\}$/);
  }
});
