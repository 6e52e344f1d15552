import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeEach, expect, test } from '@jest/globals';
import { stringify } from 'yaml';
import { productionPackages } from '../../scripts/production-packages.mjs';
import { ContainerNetwork, docker, exitOf, healthy, waitFor } from '../support/docker.js';
import { manifestsOf } from '../support/manifests.js';

/** The container image, as `make image-test` builds and names it. */

const image = process.env.SHARDKEEP_IMAGE ?? '';
const redisImage = process.env.REDIS_IMAGE ?? 'redis:7.0-bookworm';
const isThere = image !== '' && spawnSync('docker', ['image', 'inspect', image]).status === 0;
if (image !== '' && !isThere) throw new Error(`${image} is not there, or no container engine answers`);
// few machines have a container engine, and a build takes minutes; the tests are then counted as skipped
const withImage = isThere ? test : test.skip;

const MOST_BYTES = 220_000_000;
const NODE = '/nodejs/bin/node';
const PROBE = '/usr/local/bin/grpc_health_probe';
/** As a careful operator runs it. */
const CONFINED = ['--read-only', '--cap-drop', 'ALL', '--security-opt', 'no-new-privileges'];
/** A network of its own, on which nobody else is. */
const UNGUARDED = ['--env', 'ALLOW_PLAINTEXT=1', '--env', 'ALLOW_ANONYMOUS=1'];
const ON_REDIS = [
  'REDIS_URL=redis://redis:6379',
  'ALLOW_REDIS_WITHOUT_PASSWORD=1',
  'REDIS_USERNAME=',
  'REDIS_PASSWORD_FILE=',
].flatMap((setting) => ['--env', setting]);
const PROBED = ['--health-interval', '1s'];
const SERVING = [...CONFINED, ...UNGUARDED, ...ON_REDIS, ...PROBED];

const TOKEN = randomBytes(32).toString('hex');

let network: ContainerNetwork;
const folders: string[] = [];

if (isThere) {
  beforeEach(async () => {
    network = await ContainerNetwork.create();
    await network.start('redis', redisImage);
  });
  afterEach(() => network.remove());
  afterAll(() => {
    for (const folder of folders) rmSync(folder, { recursive: true });
  });
}

/** The Secrets of the shared form, in a folder, with a certificate for these names. */
function secretFiles(names: readonly string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'shardkeep-test-image-'));
  folders.push(folder);
  for (const name of ['tls', 'credentials', 'redis']) mkdirSync(join(folder, name));
  const subject = ['-subj', '/CN=shardkeep', '-addext', `subjectAltName=${names.map((name) => `DNS:${name}`).join()}`];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'tls.key'];
  execFileSync('openssl', ['req', '-x509', '-days', '2', ...key, ...subject, '-out', 'tls.crt'], {
    cwd: join(folder, 'tls'),
    stdio: 'ignore',
  });
  const sha256 = createHash('sha256').update(TOKEN).digest('hex');
  const principals = [{ name: 'game', namespaces: ['aeturnis'], tokens: [{ sha256 }] }];
  writeFileSync(join(folder, 'credentials', 'credentials.yaml'), stringify({ principals }));
  writeFileSync(join(folder, 'redis', 'password'), 'of-redis');
  execFileSync('chmod', ['-R', 'a+rX', folder]);
  return folder;
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
  expect(Config.Healthcheck).toMatchObject({ Test: expect.arrayContaining([PROBE]) });
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
    await docker('exec', id, PROBE, address, '-service=readiness');
  }
  await docker('kill', '--signal', 'TERM', id);
  expect(await waitFor(id)).toBe(0);
});

withImage(
  'as the sidecar of k8s/sidecar: on its socket for its neighbour, without leave to be open, also after a kill',
  async () => {
    const { data = {} } = manifestsOf('sidecar').find(({ kind }) => kind === 'ConfigMap') ?? {};
    const settings = Object.entries(data).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
    const volume = network.name;
    // what an emptyDir in memory with the fsGroup of the Pod is
    const asEmptyDir = ['--opt', 'type=tmpfs', '--opt', 'device=tmpfs', '--opt', 'o=uid=65532,gid=65532'];
    await docker('volume', 'create', ...asEmptyDir, volume);
    const mount = ['--volume', `${volume}:/run/shardkeep`];
    // the socket is all that the two have in common
    const probe = ['run', '--rm', '--network', 'none', ...CONFINED, ...mount, '--entrypoint', PROBE, image];
    const ask = (): Promise<string> =>
      docker(...probe, '-addr=unix:///run/shardkeep/shardkeep.sock', '-service=readiness');

    const id = await network.start('sidecar', ...CONFINED, ...settings, ...ON_REDIS, ...mount, ...PROBED, image);
    await healthy(id);
    await ask();
    await docker('kill', '--signal', 'KILL', id);
    expect(await waitFor(id)).toBe(137);
    // a container that is restarted finds the socket that was left
    await docker('start', id);
    await healthy(id);
    await ask();
    await docker('kill', '--signal', 'TERM', id);
    expect(await waitFor(id)).toBe(0);
  },
);

withImage('as the shared form of k8s/: by TLS only, with the Secrets where its settings look for them', async () => {
  const { data = {} } = manifestsOf('shared').find(({ kind }) => kind === 'ConfigMap') ?? {};
  const settings = Object.entries(data).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
  const secrets = secretFiles(['shardkeep']);
  const mounts = ['--volume', `${secrets}:/etc/shardkeep:ro`];
  const id = await network.start('shardkeep', ...CONFINED, ...settings, ...ON_REDIS, ...mounts, ...PROBED, image);
  await healthy(id);

  const probe = ['run', '--rm', '--network', network.name, ...CONFINED, ...mounts, '--entrypoint', PROBE, image];
  const address = '-addr=shardkeep:50051';
  await docker(...probe, address, '-tls', '-tls-ca-cert=/etc/shardkeep/tls/tls.crt', '-service=readiness');
  await expect(docker(...probe, address)).rejects.toMatchObject({ code: 2 });

  const call = `
    import { readFileSync } from 'node:fs';
    const { connect } = await import('/app/dist/client/index.js');
    const tls = { ca: readFileSync('/etc/shardkeep/tls/tls.crt') };
    const answers = [];
    for (const token of [process.env.TOKEN, 'another', undefined]) {
      const client = connect('dns:///shardkeep:50051', { token, tls });
      const login = client.sessions.createSession({ userId: 'ada' });
      answers.push(await login.then(({ status }) => status, ({ name }) => name));
      await client.close();
    }
    process.stdout.write(JSON.stringify(answers));
  `;
  const caller = ['run', '--rm', '--network', network.name, ...mounts, '--env', `TOKEN=${TOKEN}`, '--entrypoint', NODE];
  const answers = await docker(...caller, image, '--input-type=module', '--eval', call);
  expect(JSON.parse(answers)).toEqual(['created', 'UnauthenticatedError', 'UnauthenticatedError']);
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
