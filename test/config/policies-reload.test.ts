import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status as Code } from '@grpc/grpc-js';
import { afterAll, afterEach, describe, expect, test } from '@jest/globals';
import { RateLimitServiceService, type Limit } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { SessionServiceService } from '../../src/gen/shardkeep/session/v1/session.js';
import { EnvoyClient } from '../ratelimit/envoy-support.js';
import { failureOf, type PromiseClient } from '../support/client.js';
import { checkHealth } from '../support/health-client.js';
import { until } from '../support/redis-server.js';
import { randomNamespace, sharedRedisUrl } from '../support/service.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';

/** Policies that change under a running service. */

const folders: string[] = [];
afterEach(killServiceProcesses);
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'shardkeep-reload-'));
  folders.push(folder);
  return folder;
}

const withLimit = (limit: number): string =>
  `rate_policies:\n  p: { algorithm: fixed, limit: ${String(limit)}, window_ms: 3600000 }\n`;
const BAD = 'rate_policies:\n  p:\n    algorithm: fixed\n    limit: many\n    window_ms: 1\n';

type Client = PromiseClient<typeof RateLimitServiceService>;
const limitOf = async (client: Client): Promise<number | undefined> =>
  (await client.listPolicies({})).policies.find(({ name }) => name === 'p')?.limit;
const versionOf = async (client: Client): Promise<string> => (await client.listPolicies({})).policyVersion;

async function serve(
  file: string,
  env: Readonly<Record<string, string>> = {},
): Promise<{ service: ServiceProcess; client: Client; metric: (name: string) => Promise<number> }> {
  const service = await startServiceProcess({
    REDIS_URL: sharedRedisUrl('standalone'),
    POLICIES_FILE: file,
    ADMIN_LISTEN: '127.0.0.1:0',
    ...env,
  });
  const client = service.channel().of(RateLimitServiceService);
  const admin = await service.log('admin port listening');
  const metric = async (name: string): Promise<number> => {
    const text = await (await fetch(`http://${String(admin.address)}/metrics`)).text();
    const line = text.split('\n').find((each) => each.startsWith(`${name} `));
    return Number(line?.slice(name.length));
  };
  return { service, client, metric };
}

describe('a policies file that changes', () => {
  test('acts when it is written in place, renamed over the old one, or taken away and made anew', async () => {
    const file = join(newFolder(), 'policies.yaml');
    writeFileSync(file, withLimit(1));
    const { client } = await serve(file);
    const policy = { $case: 'policyName', value: 'p' } as const;
    const limits: Limit[] = [{ subject: 'user:ada', policy, cost: undefined, role: undefined, subjects: undefined }];
    const first = await client.checkRateLimit({ limits });
    const versions = new Set([first.policyVersion]);
    const ways: (() => void)[] = [
      () => {
        writeFileSync(file, withLimit(2));
      },
      () => {
        writeFileSync(`${file}.new`, withLimit(3));
        renameSync(`${file}.new`, file);
      },
      () => {
        unlinkSync(file);
        writeFileSync(file, withLimit(4));
      },
    ];
    for (const [index, change] of ways.entries()) {
      expect((await client.checkRateLimit({ limits })).allowed).toBe(false);
      change();
      await until(async () => (await limitOf(client)) === index + 2);
      // what was charged stays charged
      const reply = await client.checkRateLimit({ limits });
      expect(reply).toMatchObject({ allowed: true, limits: [{ limit: index + 2, remaining: 0 }] });
      versions.add(reply.policyVersion);
    }
    expect(versions.size).toBe(4);
  });

  test('acts when Kubernetes swaps the folder of a ConfigMap', async () => {
    const mount = newFolder();
    const put = (name: string, text: string): void => {
      mkdirSync(join(mount, name));
      writeFileSync(join(mount, name, 'policies.yaml'), text);
      symlinkSync(name, join(mount, '..data_tmp'));
      renameSync(join(mount, '..data_tmp'), join(mount, '..data'));
    };
    put('..first', withLimit(1));
    symlinkSync('..data/policies.yaml', join(mount, 'policies.yaml'));
    const { client } = await serve(join(mount, 'policies.yaml'));
    expect(await limitOf(client)).toBe(1);
    put('..second', withLimit(2));
    await until(async () => (await limitOf(client)) === 2);
  });

  test('acts in a folder that only a link leads to', async () => {
    const real = join(newFolder(), 'real.yaml');
    writeFileSync(real, withLimit(1));
    const file = join(newFolder(), 'policies.yaml');
    symlinkSync(real, file);
    const { client } = await serve(file);
    expect(await limitOf(client)).toBe(1);
    writeFileSync(real, withLimit(2));
    await until(async () => (await limitOf(client)) === 2);
  });

  test('is refused whole when it is bad, named and counted, and the one before stays', async () => {
    const file = join(newFolder(), 'policies.yaml');
    writeFileSync(file, withLimit(1));
    const { service, client, metric } = await serve(file);
    const health = service.channel();
    const version = await versionOf(client);
    expect(await metric('shardkeep_policies_refused')).toBe(0);
    expect(await checkHealth(health, 'policies')).toBe('SERVING');

    writeFileSync(file, `${BAD}  q: { algorithm: fixed, limit: 5, window_ms: 1000 }\n`);
    await service.log(({ msg }) => msg?.startsWith('policies file refused') === true);
    const problems = service.logs.filter(({ msg }) => msg === 'bad policies file');
    expect(problems).toEqual([
      expect.objectContaining({ level: 50, problem: expect.stringContaining(`${file}:4: rate_policies.p.limit: `) }),
      expect.objectContaining({
        level: 50,
        problem: expect.stringContaining(`${file}:5: rate_policies.p.window_ms: `),
      }),
    ]);
    expect(await metric('shardkeep_policies_refused')).toBe(1);
    expect(await metric('shardkeep_policies_reloads_total{result="refused"}')).toBe(1);
    expect(await checkHealth(health, 'policies')).toBe('NOT_SERVING');
    expect(await checkHealth(health, 'readiness')).toBe('SERVING');
    const { policies } = await client.listPolicies({});
    expect(policies.map(({ name }) => name)).not.toContain('q');
    expect([await versionOf(client), await limitOf(client)]).toEqual([version, 1]);

    unlinkSync(file);
    await until(async () => (await metric('shardkeep_policies_reloads_total{result="refused"}')) === 2);
    expect(await limitOf(client)).toBe(1);

    // the same content is the same version, whatever is said about it
    writeFileSync(file, `# one\n${withLimit(1)}`);
    await until(async () => (await metric('shardkeep_policies_reloads_total{result="applied"}')) === 1);
    expect(await versionOf(client)).toBe(version);
    expect(await metric('shardkeep_policies_refused')).toBe(0);
    expect(await checkHealth(health, 'policies')).toBe('SERVING');
  });

  test('changes what limits the descriptors of proxies, all or nothing', async () => {
    const file = join(newFolder(), 'policies.yaml');
    const domain = (policy: string): string =>
      `envoy_domains:\n  edge:\n    descriptors:\n      - key: user\n        policy: ${policy}\n`;
    writeFileSync(file, withLimit(1));
    const { service, client, metric } = await serve(file);
    const envoy = new EnvoyClient(service.address);
    const limit = async (): Promise<number | undefined> => {
      const { statuses } = await envoy.ask('edge', [{ entries: [['user', 'ada']], hits: 0 }]);
      return statuses[0]?.limit?.requestsPerUnit;
    };
    try {
      expect(await limit()).toBeUndefined();
      writeFileSync(file, withLimit(2) + domain('p'));
      await until(async () => (await limit()) === 2);
      writeFileSync(file, withLimit(3) + domain('q'));
      const { problem } = await service.log('bad policies file');
      expect(problem).toContain(`${file}:7: envoy_domains.edge.descriptors.0.policy: `);
      expect(await metric('shardkeep_policies_refused')).toBe(1);
      expect(await checkHealth(service.channel(), 'policies')).toBe('NOT_SERVING');
      expect([await limit(), await limitOf(client)]).toEqual([2, 2]);
      writeFileSync(file, withLimit(3) + domain('p'));
      await until(async () => (await limit()) === 3);
      expect(await metric('shardkeep_policies_refused')).toBe(0);
    } finally {
      envoy.close();
    }
  });

  test('changes the limits of RPCs and the profiles of sessions too', async () => {
    const file = join(newFolder(), 'policies.yaml');
    writeFileSync(file, withLimit(1));
    const { service, client } = await serve(file);
    const sessions = service.channel().of(SessionServiceService);
    const userId = randomNamespace();
    expect(await failureOf(sessions.createSession({ userId, profile: 'raid' }))).toMatchObject({ fields: ['profile'] });
    const raid =
      '{ idle_ttl_ms: 60000, absolute_ttl_ms: 0, touch_granularity_ms: 0, max_sessions: 9, at_limit: refuse }';
    writeFileSync(
      file,
      `rate_policies:\n  q: { algorithm: fixed, limit: 2, window_ms: 3600000 }\nsession_profiles:\n  raid: ${raid}\n` +
        `rpc_limits:\n  - rpc: shardkeep.session.v1.SessionService/CreateSession\n    policy: q\n` +
        `    subjects: [{ kind: user, field: user_id }]\n`,
    );
    await until(async () => (await limitOf(client)) === undefined);
    for (let count = 0; count < 2; count++) await sessions.createSession({ userId, profile: 'raid' });
    expect(await failureOf(sessions.createSession({ userId, profile: 'raid' }))).toMatchObject({
      code: Code.RESOURCE_EXHAUSTED,
      reason: 'RATE_LIMITED',
    });
  });
});

test('every worker goes by the file, and one that is started beside a bad one goes by that before it', async () => {
  const file = join(newFolder(), 'policies.yaml');
  writeFileSync(file, withLimit(1));
  const { service, metric } = await serve(file, { WORKERS: '2' });
  writeFileSync(file, withLimit(2));
  await until(async () => (await metric('shardkeep_policies_reloads_total{result="applied"}')) === 2);
  writeFileSync(file, BAD);
  await until(async () => (await metric('shardkeep_policies_refused')) === 2);
  const [worker] = service.logs.filter(({ msg }) => msg === 'worker started');
  process.kill(Number(worker?.pid), 'SIGKILL');
  await service.log(({ msg, worker: id }) => msg === 'worker ready' && id === 3);
  await until(async () => (await metric('shardkeep_policies_refused')) === 2);
  // a connection stays with one worker: some go to each
  const limits = await Promise.all(
    Array.from({ length: 8 }, () => limitOf(service.channel().of(RateLimitServiceService))),
  );
  expect(limits).toEqual(limits.map(() => 2));
});
