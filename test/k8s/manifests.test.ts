import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { environmentSchema } from '../../src/config/environment.js';
import { manifestsOf, type Container, type Labels, type Manifest, type PodSpec } from '../support/manifests.js';

/** What holds for every manifest of k8s/; that they are valid is `make manifests`. */

const SETS: readonly (readonly [folder: string, ...components: string[]])[] = [
  ['base'],
  ['shared'],
  ['shared', 'components/network-policy', 'components/monitoring', 'components/tls'],
  ['shared', 'components/plaintext-mesh'],
  ['shared', 'components/policies'],
  ['shared', 'monitoring'],
  ['sidecar'],
  ['sidecar', 'components/monitoring-sidecar'],
  ['redis-sentinel'],
  ['redis-sentinel', 'components/redis-backup'],
  ['redis-cluster'],
];
/** Those that an operator makes, as docs/operations/deploy.md says. */
const SECRETS = /^(shardkeep-(redis|tls|credentials|settings)|redis-secrets|redis-cluster-secrets)$/;
const ENV_EXAMPLE = readFileSync('.env.example', 'utf8');
const SETTINGS = new Set([...[...ENV_EXAMPLE.matchAll(/^#([A-Z][A-Z0-9_]*)=/gm)].map(([, name = '']) => name)]);

test('there are settings', () => {
  expect(SETTINGS.size).toBeGreaterThan(30);
});

describe.each(SETS.map((set) => [set.join(' with '), set] as const))('%s', (_, [folder, ...components]) => {
  const objects = manifestsOf(folder, components);
  const workloads = objects.filter(({ spec }) => spec?.template !== undefined);
  const pods = workloads.map((workload) => ({ workload, ...podOf(workload) }));
  const containers = pods.flatMap(({ spec }) => [...(spec.initContainers ?? []), ...spec.containers]);
  const services = containers.filter(isService);

  test('has Pods', () => {
    expect(pods.length).toBeGreaterThan(0);
  });

  test('every Pod keeps to the restricted profile, as nobody', () => {
    for (const { spec } of pods) {
      expect(spec.securityContext).toMatchObject({
        runAsNonRoot: true,
        runAsUser: expect.any(Number),
        seccompProfile: { type: 'RuntimeDefault' },
      });
      expect(spec.securityContext?.runAsUser).not.toBe(0);
      expect(spec).not.toHaveProperty('hostNetwork');
      expect(spec).not.toHaveProperty('hostPID');
      expect(JSON.stringify(spec.volumes ?? [])).not.toContain('hostPath');
    }
    for (const container of containers) {
      expect(container.securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
    }
  });

  test('every Pod has an account of its own, without a token', () => {
    for (const { spec } of pods) {
      expect(spec.automountServiceAccountToken).toBe(false);
      expect(named('ServiceAccount', spec.serviceAccountName).automountServiceAccountToken).toBe(false);
    }
  });

  test('every container says what it needs, and may have no more memory', () => {
    for (const { resources } of containers) {
      expect(resources?.requests.cpu).toBeDefined();
      expect(resources?.limits.memory).toBe(resources?.requests.memory);
    }
  });

  test('every image is of one version', () => {
    for (const { image } of containers) expect(image).toMatch(/(:v?\d+\.\d+\.\d+(-[a-z]+)?|@sha256:[0-9a-f]{64})$/);
  });

  test('the probes ask the health listener by its number', () => {
    for (const container of services) {
      const [, port] = settingsOf(container).HEALTH_LISTEN?.split(':') ?? [];
      expect(container.ports).toContainEqual({ name: 'health', containerPort: Number(port) });
      const { startupProbe, livenessProbe, readinessProbe } = container;
      expect(startupProbe?.grpc).toEqual({ port: Number(port), service: 'liveness' });
      expect(livenessProbe?.grpc).toEqual({ port: Number(port), service: 'liveness' });
      expect(readinessProbe?.grpc).toEqual({ port: Number(port), service: 'readiness' });
    }
  });

  test('what a container is told are settings that there are, with values that it takes', () => {
    for (const container of services) {
      const settings = settingsOf(container);
      expect(Object.keys(settings).filter((name) => !SETTINGS.has(name))).toEqual([]);
      const given = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== ''));
      expect(environmentSchema.safeParse(given).error?.issues ?? []).toEqual([]);
    }
  });

  test('the files that are named are in a volume', () => {
    for (const container of services) {
      const mounts = (container.volumeMounts ?? []).map(({ mountPath }) => mountPath);
      const files = Object.entries(settingsOf(container)).filter(
        ([name, value]) => name.endsWith('_FILE') && value !== '',
      );
      for (const [, file] of files) expect(mounts.filter((mount) => file.startsWith(`${mount}/`))).toHaveLength(1);
    }
  });

  test('what is mounted is a volume, and each volume is used', () => {
    for (const { workload, spec } of pods) {
      const volumes = new Set((spec.volumes ?? []).map(({ name }) => name));
      for (const { metadata } of claimsOf(workload)) volumes.add(metadata.name);
      const mounted = containersOf(spec).flatMap(({ volumeMounts = [] }) => volumeMounts.map(({ name }) => name));
      expect(new Set(mounted)).toEqual(volumes);
    }
  });

  test('a drain ends before its Pod is killed', () => {
    for (const { spec } of pods) {
      for (const container of containersOf(spec).filter(isService)) {
        const drainS = Number(settingsOf(container).DRAIN_TIMEOUT_MS) / 1_000;
        const preStopS = container.lifecycle?.preStop?.sleep?.seconds ?? 0;
        expect(spec.terminationGracePeriodSeconds).toBeGreaterThan(drainS + preStopS);
      }
    }
  });

  test('secrets are an operator’s: none is here, and those that are asked for are the documented ones', () => {
    expect(objects.filter(({ kind }) => kind === 'Secret')).toEqual([]);
    const asked = pods.flatMap(({ spec }) => [
      ...(spec.volumes ?? []).flatMap(({ secret }) => (secret === undefined ? [] : [secret.secretName])),
      ...containersOf(spec).flatMap(({ envFrom = [] }) => envFrom.flatMap(({ secretRef }) => secretRef?.name ?? [])),
    ]);
    for (const name of asked) expect(name).toMatch(SECRETS);
    const configured = objects.filter(({ kind }) => kind === 'ConfigMap').map(({ data }) => JSON.stringify(data));
    for (const data of configured) expect(data).not.toMatch(/PASSWORD=|_PASSWORD":|rediss?:\/\/[^"]*@/);
    // 0440: the group is that of the Pod
    for (const { spec } of pods) {
      const modes = (spec.volumes ?? []).flatMap(({ secret }) => (secret === undefined ? [] : [secret.defaultMode]));
      for (const mode of modes)
        expect([mode, spec.securityContext?.fsGroup]).toEqual([0o440, spec.securityContext?.runAsUser]);
    }
  });

  test('what selects, selects something that is here', () => {
    for (const workload of workloads.filter(({ kind }) => kind !== 'Job')) {
      expect(covers(workload.spec?.selector?.matchLabels, podOf(workload).labels)).toBe(true);
    }
    for (const { kind, spec } of objects) {
      if (kind === 'PodDisruptionBudget' || kind === 'PodMonitor')
        expect(podsWith(spec?.selector?.matchLabels)).toHaveLength(1);
      if (kind === 'NetworkPolicy') expect(podsWith(spec?.podSelector?.matchLabels)).toHaveLength(1);
      if (kind === 'Service') expect(podsWith(spec?.selector)).toHaveLength(1);
      if (kind === 'ServiceMonitor') {
        const monitored = objects.filter(
          (each) => each.kind === 'Service' && covers(spec?.selector?.matchLabels, each.metadata.labels),
        );
        expect(monitored).toHaveLength(1);
      }
      if (kind === 'HorizontalPodAutoscaler') named(String(spec?.scaleTargetRef?.kind), spec?.scaleTargetRef?.name);
    }
  });

  test('a port that is named is one', () => {
    const ports = (labels: Labels | undefined): (string | undefined)[] =>
      podsWith(labels).flatMap(({ spec }) =>
        containersOf(spec).flatMap(({ ports = [] }) => ports.map(({ name }) => name)),
      );
    for (const { kind, spec } of objects) {
      if (kind === 'Service') {
        for (const { targetPort } of spec?.ports ?? []) expect(ports(spec?.selector)).toContain(targetPort);
      }
      if (kind === 'PodMonitor') {
        for (const { port } of spec?.podMetricsEndpoints ?? [])
          expect(ports(spec?.selector?.matchLabels)).toContain(port);
      }
      if (kind === 'NetworkPolicy') {
        for (const { port } of (spec?.ingress ?? []).flatMap((rule) => rule.ports ?? [])) {
          expect(ports(spec?.podSelector?.matchLabels)).toContain(port);
        }
      }
    }
  });

  test('what listens is a port of the container', () => {
    for (const container of services) {
      const settings = settingsOf(container);
      const listened = [settings.GRPC_LISTEN, settings.HEALTH_LISTEN, settings.ADMIN_LISTEN]
        .filter((address) => address !== undefined && !address.startsWith('unix:'))
        .map((address) => Number(address?.split(':').at(-1)));
      expect((container.ports ?? []).map(({ containerPort }) => containerPort).sort()).toEqual(listened.sort());
    }
  });

  test('a disruption leaves Pods that serve', () => {
    for (const { spec } of objects.filter(({ kind }) => kind === 'PodDisruptionBudget')) {
      const [pod] = podsWith(spec?.selector?.matchLabels);
      const scaled = objects.find((each) => each.spec?.scaleTargetRef?.name === pod?.workload.metadata.name);
      const replicas = scaled?.spec?.minReplicas ?? pod?.workload.spec?.replicas;
      expect(spec?.maxUnavailable).toBeLessThan(Number(replicas));
    }
  });

  function named(kind: string, name: string | undefined): Manifest {
    const found = objects.find((each) => each.kind === kind && each.metadata.name === name);
    if (found === undefined) throw new Error(`no ${kind} ${String(name)}`);
    return found;
  }

  function podsWith(labels: Labels | undefined): typeof pods {
    return pods.filter((pod) => covers(labels, pod.labels));
  }

  /** Of the ConfigMap and the container; Secrets hold more. */
  function settingsOf({ env = [], envFrom = [] }: Container): Partial<Record<string, string>> & Record<string, string> {
    const configured = envFrom.flatMap(({ configMapRef }) =>
      configMapRef === undefined ? [] : [named('ConfigMap', configMapRef.name).data ?? {}],
    );
    return Object.assign(
      {},
      ...configured,
      Object.fromEntries(env.map(({ name, value = '' }) => [name, value])),
    ) as Record<string, string>;
  }
});

/** Runs the service; the stand-in for a game server only has its image. */
function isService({ image, command }: Container): boolean {
  return /(^|\/)shardkeep[:@]/.test(image) && command === undefined;
}

function podOf({ spec }: Manifest): { readonly labels: Labels; readonly spec: PodSpec } {
  if (spec?.template === undefined) throw new Error('not a workload');
  return { labels: spec.template.metadata.labels, spec: spec.template.spec };
}

function containersOf({ initContainers = [], containers }: PodSpec): readonly Container[] {
  return [...initContainers, ...containers];
}

function claimsOf(workload: Manifest): readonly Manifest[] {
  const spec = workload.spec as { readonly volumeClaimTemplates?: readonly Manifest[] } | undefined;
  return spec?.volumeClaimTemplates ?? [];
}

/** An empty selector selects everything, which nothing here means to. */
function covers(selector: Labels | undefined, labels: Labels | undefined): boolean {
  const wanted = Object.entries(selector ?? {});
  return wanted.length > 0 && wanted.every(([name, value]) => labels?.[name] === value);
}

test('every folder with a kustomization is looked at', () => {
  const folders = ['.', 'components'].flatMap((parent) =>
    readdirSync(join('k8s', parent))
      .map((name) => join(parent, name))
      .filter((folder) => existsSync(join('k8s', folder, 'kustomization.yaml'))),
  );
  expect(folders.length).toBeGreaterThan(9);
  const seen = SETS.flat();
  expect(folders.filter((folder) => !seen.includes(folder))).toEqual([]);
});
