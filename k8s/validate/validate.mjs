import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse, parseAllDocuments } from 'yaml';

/**
 * Checks every manifest twice, without a cluster or a network: by the compiled validators of the models (what is required,
 * types, enums), and as a typed literal by tsc (what is unknown or misspelt: the validators let that pass).
 *
 * Where there is a kubectl, what it renders of each kustomization is checked; else the files as they are, which leaves out
 * what only patches make.
 */

const here = dirname(fileURLToPath(import.meta.url));
const k8s = dirname(here);
const MODELS = {
  'monitoring.coreos.com': '@kubernetes-models/prometheus-operator',
  'cert-manager.io': '@kubernetes-models/cert-manager',
};

const folders = ['.', 'components'].flatMap((parent) =>
  readdirSync(join(k8s, parent))
    .map((name) => join(parent, name))
    .filter((folder) => existsSync(join(k8s, folder, 'kustomization.yaml'))),
);
const hasKubectl = spawnSync('kubectl', ['kustomize', '--help']).status === 0;

/** A component is part of whatever takes it in: here the form it is made for. */
const HOSTS = {
  'components/monitoring-sidecar': 'sidecar',
  'components/redis-backup': 'redis-sentinel',
};

function isComponent(folder) {
  return parse(readFileSync(join(k8s, folder, 'kustomization.yaml'), 'utf8')).kind === 'Component';
}

function rendered(folder) {
  if (!isComponent(folder)) return kustomize(join(k8s, folder));
  const overlay = mkdtempSync(join(realpathSync(tmpdir()), 'shardkeep-overlay-'));
  // kustomize takes no folder by an absolute path
  const up = relative(overlay, k8s);
  try {
    const host = HOSTS[folder] ?? 'shared';
    writeFileSync(
      join(overlay, 'kustomization.yaml'),
      JSON.stringify({
        apiVersion: 'kustomize.config.k8s.io/v1beta1',
        kind: 'Kustomization',
        namespace: 'shardkeep',
        resources: [join(up, host)],
        components: [join(up, folder)],
      }),
    );
    return kustomize(overlay);
  } finally {
    rmSync(overlay, { recursive: true });
  }
}

function kustomize(path) {
  const { status, stdout, stderr } = spawnSync('kubectl', ['kustomize', path], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`kubectl kustomize ${relative(k8s, path)}: ${stderr}`);
  return stdout;
}

/** The whole objects among the files of a folder: what a kustomization lists, and not its patches. */
function unrendered(folder) {
  const { resources = [] } = parse(readFileSync(join(k8s, folder, 'kustomization.yaml'), 'utf8'));
  return resources
    .map((resource) => join(k8s, folder, resource))
    .filter((path) => path.endsWith('.yaml') && existsSync(path))
    .map((path) => readFileSync(path, 'utf8'))
    .join('---\n');
}

function modelOf({ apiVersion, kind }) {
  const [group = ''] = apiVersion.split('/');
  return `${MODELS[group] ?? 'kubernetes-models'}/${apiVersion}/${kind}`;
}

const problems = [];
const literals = [];
for (const folder of folders) {
  const text = hasKubectl ? rendered(folder) : unrendered(folder);
  for (const document of parseAllDocuments(text)) {
    const object = document.toJS();
    if (object === null) continue;
    const name = `${folder}: ${object.kind} ${object.metadata?.name}`;
    try {
      const module = await import(modelOf(object));
      literals.push({ name, object });
      new module[object.kind](object).validate();
    } catch (error) {
      problems.push(
        `${name}: ${(error.errors ?? [error]).map(({ message, path }) => `${path ?? ''} ${message}`).join('; ')}`,
      );
    }
  }
}

const typed = join(here, '.typed.ts');
const lines = literals.map(
  ({ name, object }, i) =>
    `import type { I${object.kind} as T${i} } from '${modelOf(object)}';\n` +
    `export const d${i}: T${i} = ${JSON.stringify(object)}; // ${name.replaceAll('\n', ' ')}`,
);
writeFileSync(typed, `${lines.join('\n')}\n`);
const tsc = spawnSync(
  process.execPath,
  [
    join(here, 'node_modules/typescript/bin/tsc'),
    '--ignoreConfig',
    ...['--noEmit', '--strict', '--skipLibCheck', '--pretty', 'false'],
    ...['--module', 'nodenext', '--moduleResolution', 'nodenext', '--target', 'es2022', typed],
  ],
  { encoding: 'utf8' },
);
if (tsc.error !== undefined) throw tsc.error;
if (tsc.status !== 0) {
  const output = readFileSync(typed, 'utf8').split('\n');
  for (const line of tsc.stdout.trim().split('\n')) {
    const at = /\((\d+),/.exec(line)?.[1];
    const name = at === undefined ? '' : (output[Number(at) - 1] ?? '').split('; // ').at(-1);
    problems.push(`${name}: ${line.replace(/^.*?: error /, '')}`);
  }
}
rmSync(typed);

for (const problem of problems) process.stderr.write(`${problem}\n`);
const how = hasKubectl
  ? `rendered by kubectl of ${folders.length} kustomizations`
  : 'of the files; there is no kubectl to render them';
process.stdout.write(`${literals.length} objects, ${how}: ${problems.length} problems\n`);
if (literals.length === 0 || problems.length > 0) process.exitCode = 1;
