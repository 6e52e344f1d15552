import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { parse, parseAllDocuments, stringify } from 'yaml';

/** The objects of k8s/, as kubectl renders them or, where there is none, as they are written: then without patches. */

export type Labels = Readonly<Record<string, string>>;

export interface Probe {
  readonly grpc?: { readonly port: unknown; readonly service: string };
  readonly periodSeconds: number;
  readonly failureThreshold?: number;
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly restartPolicy?: string;
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly envFrom?: readonly {
    readonly configMapRef?: { readonly name: string };
    readonly secretRef?: { readonly name: string };
  }[];
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly lifecycle?: { readonly preStop?: { readonly sleep?: { readonly seconds: number } } };
  readonly resources?: Readonly<Record<'requests' | 'limits', Readonly<Record<string, string>>>>;
  readonly securityContext?: unknown;
}

export interface Volume {
  readonly name: string;
  readonly emptyDir?: unknown;
  readonly secret?: { readonly secretName: string; readonly defaultMode: number };
  readonly configMap?: { readonly name: string };
}

export interface PodSpec {
  readonly serviceAccountName?: string;
  readonly automountServiceAccountToken?: boolean;
  readonly terminationGracePeriodSeconds?: number;
  readonly securityContext?: Readonly<Record<string, unknown>>;
  readonly initContainers?: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes?: readonly Volume[];
}

export interface Selector {
  readonly matchLabels?: Labels;
}

/** Of all kinds, what the tests look at. */
export interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Labels };
  readonly data?: Readonly<Record<string, string>>;
  readonly automountServiceAccountToken?: boolean;
  readonly spec?: {
    readonly replicas?: number;
    readonly minReplicas?: number;
    readonly maxUnavailable?: number;
    readonly clusterIP?: string;
    readonly selector?: Selector & Labels;
    readonly podSelector?: Selector;
    readonly scaleTargetRef?: { readonly kind: string; readonly name: string };
    readonly ports?: readonly { readonly port: number; readonly targetPort: string }[];
    readonly endpoints?: readonly { readonly port: string }[];
    readonly podMetricsEndpoints?: readonly { readonly port: string }[];
    readonly ingress?: readonly { readonly ports?: readonly { readonly port: string }[] }[];
    readonly template?: { readonly metadata: { readonly labels: Labels }; readonly spec: PodSpec };
  };
}

const K8S = 'k8s';

export const hasKubectl = spawnSync('kubectl', ['kustomize', '--help']).status === 0;

/** The objects of a folder of k8s/ with these components. */
export function manifestsOf(folder: string, components: readonly string[] = []): readonly Manifest[] {
  if (!hasKubectl) return [folder, ...components.map((name) => join('components', name))].flatMap(asWritten);
  if (components.length === 0) return renderKustomization(join(K8S, folder));
  const overlay = mkdtempSync(join(realpathSync(tmpdir()), 'shardkeep-test-overlay-'));
  // kustomize takes no folder by an absolute path
  const k8s = relative(overlay, K8S);
  try {
    writeFileSync(
      join(overlay, 'kustomization.yaml'),
      stringify({
        apiVersion: 'kustomize.config.k8s.io/v1beta1',
        kind: 'Kustomization',
        namespace: 'shardkeep',
        resources: [join(k8s, folder)],
        components: components.map((name) => join(k8s, 'components', name)),
      }),
    );
    return renderKustomization(overlay);
  } finally {
    rmSync(overlay, { recursive: true });
  }
}

/** The objects of a folder with a kustomization; needs kubectl. */
export function renderKustomization(path: string): readonly Manifest[] {
  const { status, stdout, stderr } = spawnSync('kubectl', ['kustomize', path], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return documentsOf(stdout);
}

function documentsOf(text: string): Manifest[] {
  return parseAllDocuments(text).flatMap((document) => {
    const object = document.toJS() as Manifest | null;
    return object === null ? [] : [object];
  });
}

interface Kustomization {
  readonly resources?: readonly string[];
  readonly configMapGenerator?: readonly {
    readonly name: string;
    readonly behavior?: string;
    readonly literals?: readonly string[];
  }[];
}

function asWritten(folder: string): Manifest[] {
  const written = parse(readFileSync(join(K8S, folder, 'kustomization.yaml'), 'utf8')) as Kustomization;
  const resources = (written.resources ?? []).flatMap((resource) => {
    const path = join(folder, resource);
    if (!existsSync(join(K8S, path))) throw new Error(`${path} is not there`);
    return statSync(join(K8S, path)).isDirectory()
      ? asWritten(path)
      : documentsOf(readFileSync(join(K8S, path), 'utf8'));
  });
  const configMaps = (written.configMapGenerator ?? [])
    .filter(({ behavior }) => behavior !== 'merge')
    .map(({ name, literals = [] }) => ({
      kind: 'ConfigMap',
      metadata: { name },
      data: Object.fromEntries(literals.map((literal) => literal.split(/=(.*)/s).slice(0, 2))) as Record<
        string,
        string
      >,
    }));
  return [...resources, ...configMaps];
}
