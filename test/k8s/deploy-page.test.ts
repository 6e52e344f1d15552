import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { parse, parseAllDocuments } from 'yaml';
import { hasKubectl, renderKustomization, type Manifest } from '../support/manifests.js';

/** docs/operations/deploy.md: what it has one type makes what the manifests ask for. */

const page = readFileSync('docs/operations/deploy.md', 'utf8');
const hasOpenssl = spawnSync('openssl', ['version']).status === 0;
const withKubectl = hasKubectl && hasOpenssl ? test : test.skip;
const folder = mkdtempSync(join(realpathSync(tmpdir()), 'shardkeep-test-deploy-'));

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** The one block of the page with these words. */
function blockWith(words: string): string {
  const blocks = [...page.matchAll(/```(?:sh|yaml)\n([\s\S]*?)\n```/g)].map(([, block = '']) => block);
  const [found, ...others] = blocks.filter((block) => block.includes(words));
  if (found === undefined || others.length > 0) throw new Error(`${words}: not in one block`);
  return found;
}

withKubectl('its commands make the Secrets that the shared form mounts', () => {
  const pems = ['tls.crt', 'tls.key'];
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=shardkeep'].concat(
      ['-days', '1', '-out', 'tls.crt', '-keyout', 'tls.key'],
    ),
    { cwd: folder, stdio: 'ignore' },
  );
  const output = execFileSync('sh', ['-euc', blockWith('sha256sum').replaceAll('-o yaml', '-o yaml; echo ---')], {
    cwd: folder,
    encoding: 'utf8',
  });
  const made = parseAllDocuments(output).flatMap((document) => (document.toJS() as Manifest | null) ?? []);
  const keys = Object.fromEntries(
    made.filter(({ kind }) => kind === 'Secret').map(({ metadata, data = {} }) => [metadata.name, Object.keys(data)]),
  );
  expect(keys).toEqual({
    'shardkeep-redis': ['password'],
    'shardkeep-credentials': ['credentials.yaml'],
    'shardkeep-tls': pems,
  });
  const credentials = parse(readFileSync(join(folder, 'credentials.yaml'), 'utf8')) as {
    readonly principals: readonly { readonly tokens: readonly { readonly sha256: string }[] }[];
  };
  expect(credentials.principals[0]?.tokens[0]?.sha256).toMatch(/^[0-9a-f]{64}$/);
});

withKubectl('its overlay has all that it names', () => {
  const overlay = join(folder, 'production');
  mkdirSync(overlay);
  // beside k8s/shared by another way: this folder may be listed by other tests
  const up = `${relative(overlay, 'k8s')}/`;
  writeFileSync(
    join(overlay, 'kustomization.yaml'),
    blockWith('k8s/production/kustomization.yaml').replaceAll('../', up),
  );
  const objects = renderKustomization(overlay);
  const kinds = objects.map(({ kind }) => kind);
  expect(kinds).toEqual(expect.arrayContaining(['Certificate', 'NetworkPolicy', 'ServiceMonitor', 'Deployment']));
  const deployment = objects.find(({ kind }) => kind === 'Deployment')?.spec?.template?.spec;
  expect(deployment?.containers[0]?.image).toBe('registry.example/shardkeep:0.1.0');
  expect(objects.find(({ kind }) => kind === 'ConfigMap')?.data).toMatchObject({
    STATE_REDIS_URL: 'rediss://state.redis.example:6379',
    REDIS_PASSWORD_FILE: '/etc/shardkeep/redis/password',
  });
});

withKubectl('what else it has for an overlay fits', () => {
  const overlay = join(folder, 'own');
  mkdirSync(overlay);
  writeFileSync(join(overlay, 'policies.yaml'), 'rate_policies: {}\n');
  const up = `${relative(overlay, 'k8s')}/`;
  const own = blockWith('further lines of it').replace('components: [', '$&../components/tls, ');
  writeFileSync(join(overlay, 'kustomization.yaml'), `resources: [../shared]\n${own}\n`.replaceAll('../', up));
  const objects = renderKustomization(overlay);
  const one = (kind: string): unknown => objects.find((object) => object.kind === kind);
  expect(one('Certificate')).toMatchObject({
    metadata: { namespace: 'my-game' },
    spec: { dnsNames: expect.arrayContaining(['shardkeep.my-game']) },
  });
  expect(objects.find(({ metadata }) => metadata.name === 'shardkeep-policies')?.data).toEqual({
    'policies.yaml': 'rate_policies: {}\n',
  });
  expect(one('Deployment')).toMatchObject({
    spec: { template: { spec: { volumes: expect.arrayContaining([expect.objectContaining({ name: 'policies' })]) } } },
  });
});

test('every folder of k8s/ that one applies is on it', () => {
  for (const name of ['base', 'shared', 'sidecar', 'redis-sentinel', 'redis-cluster']) expect(page).toContain(name);
});
