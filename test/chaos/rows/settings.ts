import { copyFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SERVICE_PASSWORD, SERVICE_USER } from '../../support/redis-user.js';
import { startServiceProcess } from '../../support/service-process.js';
import type { Row } from '../row.js';
import type { World } from '../world.js';

const FAULT_MS = 3_000;
const EX_CONFIG = 78;

const NAMES_FILE = join(tmpdir(), `shardkeep-chaos-names-${String(process.pid)}`);
const NAME_SERVICE = new URL('../name-service.mjs', import.meta.url).href;
const [FIRST_ADDRESS, SECOND_ADDRESS, OUR_ADDRESS] = ['127.0.0.2', '127.0.0.3', '127.0.0.1'];

const BAD_SETTINGS: readonly (readonly [Readonly<Record<string, string>>, readonly string[]])[] = [
  [{ MAX_IN_FLIGHT: 'many', DRAIN_TIMEOUT_MS: '-1' }, ['MAX_IN_FLIGHT', 'DRAIN_TIMEOUT_MS']],
  [{ REDIS_URL: 'http://127.0.0.1', WORKERS: '0' }, ['REDIS_URL', 'WORKERS']],
  [{ POLICIES_FILE: '/nowhere/policies.yaml' }, ['POLICIES_FILE']],
  [{ NAMESPACE: 'A B' }, ['NAMESPACE']],
];

function claimSecrecy(world: World): void {
  const said = world.services.flatMap(({ running }) => [
    ...running.logs.map((line) => JSON.stringify(line)),
    ...running.output,
  ]);
  world.claim('no log has the password', !said.some((line) => line.includes(SERVICE_PASSWORD)));
}

/** F24, F27 and F28: what the services are told is wrong, or no longer right. */
export const settingsFaults: readonly Row[] = [
  {
    id: 'F24-password',
    what: "the services' password of Redis is changed for 3 s, and their connections are ended",
    setup: { servicesLive: true },
    expect: {},
    inject: async (world) => {
      const { redis } = world;
      await world.fault('another password', {
        inject: async () => {
          await redis.command('ACL', 'SETUSER', SERVICE_USER, 'resetpass', '>another');
          await redis.command('CLIENT', 'KILL', 'USER', SERVICE_USER);
        },
        forMs: FAULT_MS,
        undo: () => redis.command('ACL', 'SETUSER', SERVICE_USER, 'resetpass', `>${SERVICE_PASSWORD}`),
      });
      const named = world.services.every(({ running }) =>
        running.logs.some((line) => JSON.stringify(line).includes('WRONGPASS')),
      );
      world.claim('every log names the cause', named);
      claimSecrecy(world);
    },
  },
  {
    id: 'F24-permission',
    what: "the services' user of Redis may run no scripts for 3 s",
    setup: { servicesLive: true },
    // a wrong setting, which no retry heals
    expect: { mayFailWith: ['INTERNAL', 'UNAVAILABLE', 'DEADLINE_EXCEEDED'] },
    inject: async (world) => {
      const { redis } = world;
      await world.fault('no scripts', {
        inject: () => redis.command('ACL', 'SETUSER', SERVICE_USER, '-eval', '-evalsha'),
        forMs: FAULT_MS,
        undo: () => redis.command('ACL', 'SETUSER', SERVICE_USER, '+eval', '+evalsha'),
      });
      const named = world.services.every(({ running }) =>
        running.logs.some((line) => JSON.stringify(line).includes('NOPERM')),
      );
      world.claim('every log names the cause', named);
      claimSecrecy(world);
    },
  },
  {
    id: 'F27-name',
    what: 'the name of Redis is unknown for 3 s, and then has another address',
    setup: {
      servicesLive: true,
      redisFlags: ['--bind', OUR_ADDRESS, FIRST_ADDRESS],
      serviceEnv: { NAMES_FILE },
      nodeArgs: ['--import', NAME_SERVICE],
      redisUrl: (url) => {
        name(FIRST_ADDRESS);
        return url.replace(OUR_ADDRESS, 'redis.chaos');
      },
    },
    expect: {},
    inject: async (world) => {
      const { redis } = world;
      await world.fault('no such name', {
        inject: async () => {
          name(undefined);
          await redis.command('CONFIG', 'SET', 'bind', `${OUR_ADDRESS} ${SECOND_ADDRESS}`);
          await redis.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
        },
        forMs: FAULT_MS,
        undo: () => {
          name(SECOND_ADDRESS);
        },
      });
    },
  },
  {
    id: 'F28-settings',
    what: 'services that are started with bad settings; the policies file of those that run becomes bad for 3 s',
    setup: { servicesLive: true },
    expect: { mayFailWith: [], recoveryMs: 0 },
    inject: async (world) => {
      const kept = `${world.policiesPath}.kept`;
      copyFileSync(world.policiesPath, kept);
      await world.fault('a bad policies file', {
        inject: async () => {
          writeFileSync(world.policiesPath, 'rate_policies: [');
          const refused = 'policies file refused, the policies before it stay in force';
          await Promise.all(world.services.map(({ running }) => running.log(refused)));
          for (const [env, names] of BAD_SETTINGS) await claimRefusal(world, { env, names });
        },
        forMs: FAULT_MS,
        undo: () => {
          copyFileSync(kept, world.policiesPath);
        },
      });
    },
  },
];

interface BadStart {
  readonly env: Readonly<Record<string, string>>;
  readonly names: readonly string[];
}

async function claimRefusal(world: World, { env, names }: BadStart): Promise<void> {
  const service = await startServiceProcess({ REDIS_URL: world.redis.url, ...env }, { until: 'nothing' });
  const { code } = await service.exited;
  const what = Object.keys(env).join(' and ');
  world.claim(`a bad ${what} ends with ${String(EX_CONFIG)}`, code === EX_CONFIG);
  const said = service.output.join('\n');
  world.claim(
    `a bad ${what} is told of`,
    names.every((named) => said.includes(named)),
  );
  world.claim(`a bad ${what} listens nowhere`, !service.logs.some(({ msg }) => msg === 'listening'));
}

function name(address: string | undefined): void {
  writeFileSync(NAMES_FILE, JSON.stringify(address === undefined ? {} : { 'redis.chaos': address }));
}
