import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { productionPackages } from './production-packages.mjs';

/**
 * Writes the bill of materials (CycloneDX, JSON) of what the service runs on: `write-sbom.mjs FILE [GO_MODULE@VERSION...]`.
 * The npm packages are those of the lockfile; a Go program that the image ships is named by its module.
 */

const [file, ...goModules] = process.argv.slice(2);
if (file === undefined) {
  process.stderr.write('usage: write-sbom.mjs FILE [GO_MODULE@VERSION...]\n');
  process.exit(2);
}

// npm's own --omit=dev leaves out what an optional peer needs as well (50 of 69 packages), so the rest is taken out here
const bom = JSON.parse(
  execFileSync('npm', ['sbom', '--package-lock-only', '--sbom-format=cyclonedx'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 256 * 1_048_576,
  }),
);
const { name } = JSON.parse(readFileSync('package.json', 'utf8'));
const root = bom.metadata.component['bom-ref'];
const kept = new Set([root, ...productionPackages().map((each) => `${each.name}@${each.version}`)]);
bom.components = bom.components.filter((each) => kept.has(each['bom-ref']));
if (bom.components.length !== kept.size - 1) throw new Error('npm does not list every package of the lockfile');
bom.dependencies = bom.dependencies
  .filter(({ ref }) => kept.has(ref))
  .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((each) => kept.has(each)) }));

// npm names the root after its folder, and stamps the time: the same lockfile is to give the same file
Object.assign(bom.metadata.component, { name, type: 'application' });
delete bom.metadata.timestamp;
delete bom.serialNumber;

for (const module of goModules) {
  const [path, version] = module.split('@');
  const purl = `pkg:golang/${path}@${version}`;
  bom.components.push({ 'bom-ref': purl, type: 'application', name: path, version, purl });
}

mkdirSync(dirname(file), { recursive: true });
writeFileSync(file, `${JSON.stringify(bom, null, 2)}\n`);
process.stdout.write(`${file}: ${bom.components.length} components\n`);
