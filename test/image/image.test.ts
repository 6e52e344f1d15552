import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { productionPackages } from '../../scripts/production-packages.mjs';
import { ContainerNetwork, docker, exitOf, healthy, waitFor } from '../support/docker.js';

/** The container image, as `make image-test` builds and names it. */

const image = process.env.SHARDKEEP_IMAGE ?? '';
const redisImage = process.env.REDIS_IMAGE ?? 'redis:7.0-bookworm';
const isThere = image !== '' && spawnSync('docker', ['image', 'inspect', image]).status === 0;
if (image !== '' && !isThere) throw new Error(`${image} is not there, or no container engine answers`);
// few machines have a container engine, and a build takes minutes; the tests are then counted as skipped
const withImage = isThere ? test : test.skip;

const MOST_BYTES = 220_000_000;
const NODE = '/nodejs/bin/node';
/** As a careful operator runs it. */
const CONFINED = ['--read-only', '--cap-drop', 'ALL', '--security-opt', 'no-new-privileges'];
/** A network of its own, on which nobody else is. */
const UNGUARDED = ['--env', 'ALLOW_PLAINTEXT=1', '--env', 'ALLOW_ANONYMOUS=1'];
const ON_REDIS = ['--env', 'REDIS_URL=redis://redis:6379', '--env', 'ALLOW_REDIS_WITHOUT_PASSWORD=1'];
const SERVING = [...CONFINED, ...UNGUARDED, ...ON_REDIS, '--health-interval', '1s'];

let network: ContainerNetwork;

if (isThere) {
  beforeEach(async () => {
    network = await ContainerNetwork.create();
    await network.start('redis', redisImage);
  });
  afterEach(() => network.remove());
}

/** What the code prints, as JSON, that runs in a container of the image. */
async function inside<T>(code: string): Promise<T> {
  return JSON.parse(await docker('run', '--rm', '--entrypoint', NODE, image, '-e', code)) as T;
}

withImage('is described, is nobody, is small, and leaves it to its user to open it', async () => {
  const [{ Size, Config }] = JSON.parse(await docker('image', 'inspect', image)) as [
    { Size: number; Config: Record<'Env' | 'Labels' | 'User' | 'Healthcheck' | 'StopSignal', unknown> },
  ];
  expect(Size).toBeLessThan(MOST_BYTES);
  expect(Config.User).toBe('65532:65532');
  expect(Config.StopSignal).toBe('SIGTERM');
  expect(Config.Healthcheck).toMatchObject({ Test: expect.arrayContaining(['/usr/local/bin/grpc_health_probe']) });
  expect(Object.keys(Config.Labels as object)).toEqual(
    expect.arrayContaining(
      ['title', 'description', 'version', 'revision', 'source', 'licenses', 'base.name'].map(
        (label) => `org.opencontainers.image.${label}`,
      ),
    ),
  );
  expect(Config.Env).toContain('NODE_ENV=production');
  expect(Config.Env).not.toContainEqual(expect.stringContaining('ALLOW_'));
});

withImage('has neither a shell nor a package manager, and nothing of how it was built', async () => {
  const found = await inside<string[]>(`
    const { existsSync, readdirSync } = require('node:fs');
    const programs = ['sh', 'bash', 'dash', 'busybox', 'ash', 'npm', 'npx', 'corepack', 'yarn', 'apt-get', 'go'];
    const folders = ['/bin', '/usr/bin', '/sbin', '/usr/sbin', '/usr/local/bin', '/nodejs/bin', '/busybox'];
    const paths = folders.flatMap((folder) => programs.map((program) => folder + '/' + program));
    const files = readdirSync('.', { recursive: true }).map(String).filter((file) => !file.startsWith('node_modules/'));
    const left = files.filter((file) => /\\.(ts|map|pem|key)$|npmrc|(^|\\/)(test|\\.git|\\.env)/.test(file));
    console.log(JSON.stringify([...paths.filter((path) => existsSync(path)), ...left]));
  `);
  expect(found).toEqual([]);
});

withImage('lists what it is made of: every package of the lockfile, which is every package there is', async () => {
  const { listed, installed } = await inside<Record<'listed' | 'installed', string[]>>(`
    const { existsSync, readFileSync, readdirSync } = require('node:fs');
    const installed = new Set();
    for (const file of readdirSync('node_modules', { recursive: true }).map(String)) {
      if (!/(^|node_modules\\/)(@[^\\/]+\\/)?[^@\\/][^\\/]*\\/package\\.json$/.test(file)) continue;
      const { name, version } = JSON.parse(readFileSync('node_modules/' + file, 'utf8'));
      if (version !== undefined) installed.add(name + '@' + version);
    }
    const listed = JSON.parse(readFileSync('sbom.cdx.json', 'utf8')).components.map((each) => each['bom-ref']);
    console.log(JSON.stringify({ listed, installed: [...installed] }));
  `);
  const expected = new Set(productionPackages().map(({ name, version }) => `${name}@${version}`));
  expect(new Set(installed)).toEqual(expected);
  expect(new Set(listed.filter((each) => !each.startsWith('pkg:golang/')))).toEqual(expected);
  expect(listed.filter((each) => each.startsWith('pkg:golang/'))).toHaveLength(1);
});

withImage('a heap within the memory of its container', async () => {
  const code = 'console.log(require("node:v8").getHeapStatistics().heap_size_limit)';
  const limit = await docker('run', '--rm', '--memory', '128m', '--entrypoint', NODE, image, '-e', code);
  expect(Number(limit)).toBeLessThan(0.8 * 128 * 1_048_576);
});

withImage('without a Redis it exits 78, and names what is missing', async () => {
  const { code, output } = await exitOf([...CONFINED, ...UNGUARDED, image]);
  expect(code).toBe(78);
  expect(output).toContain('REDIS_URL');
});

withImage('serves confined, answers its probes from inside, and exits 0 on TERM', async () => {
  const id = await network.start('shardkeep', ...SERVING, image);
  await healthy(id);
  for (const address of ['-addr=127.0.0.1:50051', '-addr=127.0.0.1:50052']) {
    await docker('exec', id, '/usr/local/bin/grpc_health_probe', address, '-service=readiness');
  }
  await docker('kill', '--signal', 'TERM', id);
  expect(await waitFor(id)).toBe(0);
});

withImage(
  'two containers replaced by two others under load: no call of the SDK fails',
  async () => {
    const [first, second] = await Promise.all([1, 2].map(() => network.start('shardkeep', ...SERVING, image)));
    if (first === undefined || second === undefined) throw new Error('not started');
    await Promise.all([healthy(first), healthy(second)]);

    const name = `${network.name}-client`;
    const options = ['--network', network.name, '--env', 'CLIENT=/app/dist/client/index.js', '--entrypoint', NODE];
    const code = ['--input-type=module', '--eval', readFileSync('test/image/drain-client.mjs', 'utf8')];
    const client = spawn('docker', ['run', '--interactive', '--name', name, ...options, image, ...code], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = createInterface(client.stdout)[Symbol.asyncIterator]();
    expect(await lines.next()).toMatchObject({ value: 'calling' });

    // both before the first goes: else one would have its address, which the client knows
    const fresh = await Promise.all([1, 2].map(() => network.start('shardkeep', ...SERVING, image)));
    await Promise.all(fresh.map(healthy));
    for (const old of [first, second]) {
      await docker('kill', '--signal', 'TERM', old);
      expect(await waitFor(old)).toBe(0);
    }
    client.stdin.end();
    const { value } = (await lines.next()) as { value: string };
    const { answered, failed } = JSON.parse(value) as { answered: number; failed: object };
    await once(client, 'close');
    await docker('rm', '--force', name);
    expect(failed).toEqual({});
    expect(answered).toBeGreaterThan(100);
  },
  180_000,
);
