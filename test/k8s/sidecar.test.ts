import { expect, test } from '@jest/globals';
import { hasKubectl, manifestsOf, type Container, type PodSpec } from '../support/manifests.js';

/** The sidecar form, and what the two forms of the shared deployment say about who may call. */

const withKubectl = hasKubectl ? test : test.skip;

function podOf(folder: string, components: readonly string[] = []): PodSpec & { readonly settings: object } {
  const objects = manifestsOf(folder, components);
  const spec = objects.find(({ kind }) => kind === 'Deployment')?.spec?.template?.spec;
  if (spec === undefined) throw new Error('no Deployment');
  return { ...spec, settings: objects.find(({ kind }) => kind === 'ConfigMap')?.data ?? {} };
}

function only<T>(each: readonly T[] | undefined): T {
  const [first, ...others] = each ?? [];
  if (first === undefined || others.length > 0) throw new Error(`${each?.length ?? 0} instead of one`);
  return first;
}

const { settings, ...pod } = podOf('sidecar');
const sidecar: Container = only(pod.initContainers);
const shard: Container = only(pod.containers);

test('the sidecar runs as long as its shard, and is there before it', () => {
  expect(sidecar.restartPolicy).toBe('Always');
  // a shard starts when the startup probe has passed, and is not held up for longer than it takes to start
  expect(sidecar.startupProbe).toMatchObject({ periodSeconds: 1, failureThreshold: 30 });
});

test('its probes: what restarts it is its own state only, and never that of Redis', () => {
  expect(sidecar.livenessProbe?.grpc).toEqual({ port: 50052, service: 'liveness' });
  expect(sidecar.readinessProbe?.grpc).toEqual({ port: 50052, service: 'readiness' });
  expect(settings).toMatchObject({ HEALTH_LISTEN: '0.0.0.0:50052', SIDECAR: '1' });
});

test('the API is on a socket that both containers mount, and nobody else has', () => {
  const path = '/run/shardkeep';
  expect(settings).toMatchObject({ GRPC_LISTEN: `unix:${path}/shardkeep.sock` });
  const volume = only(pod.volumes?.filter(({ emptyDir }) => emptyDir !== undefined));
  expect(volume).toEqual({ name: volume.name, emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } });
  for (const container of [sidecar, shard]) {
    expect(container.volumeMounts).toContainEqual({ name: volume.name, mountPath: path });
    // of one user, as only the user of a socket may connect to it
    expect(container.securityContext).not.toHaveProperty('runAsUser');
  }
  expect(pod.securityContext).toMatchObject({ runAsUser: 65_532, fsGroup: 65_532 });
  expect(shard.env).toEqual([{ name: 'SHARDKEEP_ADDRESS', value: `unix://${path}/shardkeep.sock` }]);
  // no port of the Pod leads there
  expect(sidecar.ports).toEqual([
    { name: 'health', containerPort: 50_052 },
    { name: 'metrics', containerPort: 9_464 },
  ]);
});

test('the password of Redis is a file that the sidecar has, and its shard has not', () => {
  const secret = only(pod.volumes?.filter(({ secret }) => secret !== undefined));
  const mounts = (container: Container): readonly string[] => (container.volumeMounts ?? []).map(({ name }) => name);
  expect(mounts(sidecar)).toContain(secret.name);
  expect(mounts(shard)).not.toContain(secret.name);
  expect(settings).toMatchObject({ REDIS_PASSWORD_FILE: '/etc/shardkeep/redis/password' });
});

test('on its socket it needs neither TLS nor credentials, and is not told to do without', () => {
  expect(Object.keys(settings).filter((name) => /ALLOW_|TLS_|CREDENTIALS_/.test(name))).toEqual([]);
});

test('the shared form has both, and is not told to do without', () => {
  const shared = podOf('shared');
  expect(shared.settings).toMatchObject({
    TLS_CERT_FILE: '/etc/shardkeep/tls/tls.crt',
    TLS_KEY_FILE: '/etc/shardkeep/tls/tls.key',
    CREDENTIALS_FILE: '/etc/shardkeep/credentials/credentials.yaml',
  });
  expect(Object.keys(shared.settings).filter((name) => name.startsWith('ALLOW_'))).toEqual([]);
});

withKubectl('in a mesh it says so, and mounts neither', () => {
  const meshed = podOf('shared', ['plaintext-mesh']);
  expect(meshed.settings).toMatchObject({
    ALLOW_PLAINTEXT: '1',
    ALLOW_ANONYMOUS: '1',
    TLS_CERT_FILE: '',
    TLS_KEY_FILE: '',
    CREDENTIALS_FILE: '',
  });
  expect(meshed.volumes?.map(({ name }) => name)).toEqual(['redis']);
  expect(only(meshed.containers).volumeMounts?.map(({ name }) => name)).toEqual(['redis']);
});

withKubectl('how many there are is the autoscaler’s', () => {
  const objects = manifestsOf('shared');
  const deployment = objects.find(({ kind }) => kind === 'Deployment');
  expect(deployment?.spec).not.toHaveProperty('replicas');
  expect(objects.filter(({ kind }) => kind === 'HorizontalPodAutoscaler')).toHaveLength(1);
});

withKubectl('all of the shared form is in its namespace, which takes only confined Pods', () => {
  const objects = manifestsOf('shared', ['network-policy', 'monitoring', 'tls']);
  const namespaced = objects.filter(({ kind }) => kind !== 'Namespace');
  expect(new Set(namespaced.map(({ metadata }) => metadata.namespace))).toEqual(new Set(['shardkeep']));
  expect(objects.find(({ kind }) => kind === 'Namespace')?.metadata.labels).toMatchObject({
    'pod-security.kubernetes.io/enforce': 'restricted',
  });
});
