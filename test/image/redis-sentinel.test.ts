import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { ContainerNetwork, docker, healthy } from '../support/docker.js';

/** k8s/redis-sentinel as containers, with the users that ship, and the service on it. */

const image = process.env.SHARDKEEP_IMAGE ?? '';
const redisImage = process.env.REDIS_IMAGE ?? 'redis:7.0-bookworm';
const isThere = image !== '' && spawnSync('docker', ['image', 'inspect', image]).status === 0;
const withImage = isThere ? test : test.skip;

const PROBE = '/usr/local/bin/grpc_health_probe';
const PASSWORDS = {
  shardkeep: 'of-the-service',
  replica: 'of-replicas',
  sentinel: 'of-sentinels',
  admin: 'of-operators',
};
const ACCESS = 'to-sentinels';
const folder = mkdtempSync(join(tmpdir(), 'shardkeep-test-sentinel-'));

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** The ConfigMap and the Secret of the example, as folders that any user may read. */
function writeSettings(): void {
  chmodSync(folder, 0o755);
  mkdirSync(join(folder, 'settings'));
  mkdirSync(join(folder, 'secrets'));
  for (const file of ['redis.conf', 'start.sh']) {
    copyFileSync(join('k8s/redis-sentinel', file), join(folder, 'settings', file));
  }
  const users = readFileSync('docs/operations/redis-users.acl', 'utf8').replace(
    /^user (\w+) on #0+/gm,
    (_, user: keyof typeof PASSWORDS) =>
      `user ${user} on #${createHash('sha256').update(PASSWORDS[user]).digest('hex')}`,
  );
  const files = {
    'users.acl': users,
    'replica-password': PASSWORDS.replica,
    'sentinel-redis-password': PASSWORDS.sentinel,
    'sentinel-password': ACCESS,
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, 'secrets', name), content);
}

/** A Pod of the StatefulSet: its init container, then Redis, and a sentinel in the same network. */
class Pod {
  private readonly mounts: readonly string[];
  private redis = '';

  constructor(
    private readonly network: ContainerNetwork,
    private readonly number: number,
  ) {
    const own = join(folder, `redis-${number}`);
    for (const name of ['config', 'data']) {
      mkdirSync(join(own, name), { recursive: true });
      // of whatever user the image gives to Redis
      chmodSync(join(own, name), 0o777);
    }
    this.mounts = [
      `${folder}/settings:/settings:ro`,
      `${folder}/secrets:/secrets:ro`,
      `${own}/config:/config`,
      `${own}/data:/data`,
    ].flatMap((mount) => ['--volume', mount]);
  }

  /** Answers what the init container said. */
  async start(): Promise<string> {
    const name = `redis-${this.number}`;
    const as = (program: string): string[] => ['--user', '999:999', '--read-only', '--entrypoint', program, redisImage];
    const host = ['--hostname', name, '--env', 'POD_NAMESPACE=shardkeep', ...this.mounts];
    const said = await docker(
      ...['run', '--rm', '--network', this.network.name, ...host, ...as('sh'), '/settings/start.sh'],
    );
    const aliases = ['--network-alias', `${name}.redis.shardkeep.svc`];
    this.redis = await this.network.start(
      `${name}.redis`,
      ...aliases,
      ...host,
      ...as('redis-server'),
      '/config/redis.conf',
    );
    await this.network.join(
      this.redis,
      '--tmpfs',
      '/tmp',
      ...this.mounts,
      ...as('redis-sentinel'),
      '/config/sentinel.conf',
    );
    return said;
  }

  /** As with a machine that is lost: what runs in it is gone, its volume is not, and neither says goodbye. */
  async kill(): Promise<void> {
    await this.network.kill(this.redis);
  }

  async ask(...command: readonly string[]): Promise<string> {
    const login = ['--user', 'shardkeep', '--pass', PASSWORDS.shardkeep, '--no-auth-warning'];
    return docker('exec', this.redis, 'redis-cli', ...login, ...command);
  }
}

/** Resolves when it answers true; an error is as good as false. */
async function until(question: () => Promise<boolean>): Promise<void> {
  while (!(await question().catch(() => false))) await new Promise((resolve) => setTimeout(resolve, 300));
}

withImage(
  'the example of sentinels: the service follows a failover, and the old master comes back as a replica',
  async () => {
    writeSettings();
    const network = await ContainerNetwork.create();
    try {
      const pods = [0, 1, 2].map((number) => new Pod(network, number));
      for (const pod of pods) expect(await pod.start()).toContain('the master is redis-0.redis.shardkeep.svc');
      const [first, ...others] = pods;
      await until(async () => ((await first?.ask('info', 'replication')) ?? '').includes('connected_slaves:2'));

      const sentinels = [0, 1, 2].map((number) => `redis-${number}.redis:26379`).join();
      const settings = {
        REDIS_URL: `redis+sentinel://shardkeep:${PASSWORDS.shardkeep}@${sentinels}/shardkeep`,
        REDIS_SENTINEL_USERNAME: 'shardkeep',
        REDIS_SENTINEL_PASSWORD: ACCESS,
        ALLOW_PLAINTEXT: '1',
        ALLOW_ANONYMOUS: '1',
      };
      const env = Object.entries(settings).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
      const service = await network.start('shardkeep', ...env, '--health-interval', '1s', image);
      await healthy(service);
      const serves = async (): Promise<boolean> => {
        const about = '-service=shardkeep.session.v1.SessionService';
        // rejects where the answer is another one
        await docker('exec', service, PROBE, '-addr=127.0.0.1:50052', about);
        return true;
      };
      await until(serves);

      await first?.kill();
      await until(async () => {
        const roles = await Promise.all(others.map((pod) => pod.ask('info', 'replication')));
        return roles.some((role) => role.includes('role:master'));
      });
      await until(serves);
      expect(await first?.start()).toMatch(/the master is redis-[12]\.redis\.shardkeep\.svc/);
      await until(async () =>
        /role:slave[\s\S]*master_link_status:up/.test((await first?.ask('info', 'replication')) ?? ''),
      );
    } finally {
      await network.remove();
    }
  },
  180_000,
);
