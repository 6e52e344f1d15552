import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import ts from 'typescript';
import { z } from 'zod';

/**
 * What package.json promises of what is built. Whether it keeps that for a stranger is seen by `make package`.
 *
 * An integration is a folder of src/integrations, named as the npm package that it is for. It needs an export, and its
 * package as an optional peer and among the devDependencies.
 */

const names = z.record(z.string(), z.string()).default({});
const manifest = z
  .object({
    exports: z.record(z.string(), z.union([z.string(), z.record(z.string(), z.string())])),
    bin: z.record(z.string(), z.string()),
    sideEffects: z.array(z.string()),
    dependencies: names,
    devDependencies: names,
    peerDependencies: names,
    peerDependenciesMeta: z.record(z.string(), z.object({ optional: z.boolean() })).default({}),
    allowScripts: z.record(z.string(), z.boolean()),
  })
  .parse(JSON.parse(readFileSync('package.json', 'utf8')));
const { packages } = z
  .object({ packages: z.record(z.string(), z.looseObject({ hasInstallScript: z.boolean().optional() })) })
  .parse(JSON.parse(readFileSync('package-lock.json', 'utf8')));

const INTEGRATIONS = 'src/integrations';
const integrations = existsSync(INTEGRATIONS)
  ? readdirSync(INTEGRATIONS).filter((name) => existsSync(join(INTEGRATIONS, name, 'index.ts')))
  : [];

/** What the client may need of npm. The rest of `dependencies` is the service's. */
const CLIENT_PACKAGES = ['@bufbuild/protobuf', '@grpc/grpc-js', 'lru-cache', 'nice-grpc-error-details'];

/** The packages that built files of these folders import, types too. */
function packagesOf(...folders: readonly string[]): string[] {
  const files = folders.filter(existsSync).flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((file) => /\.(js|d\.ts)$/.test(file) && !file.startsWith('bench'))
      .map((file) => join(folder, file)),
  );
  const imported = files.flatMap((file) => ts.preProcessFile(readFileSync(file, 'utf8')).importedFiles);
  const specifiers = imported.map(({ fileName }) => fileName).filter((name) => !/^(\.|node:)/.test(name));
  const packageNames = specifiers.map((name) =>
    name
      .split('/')
      .slice(0, name.startsWith('@') ? 2 : 1)
      .join('/'),
  );
  return [...new Set(packageNames)].filter((name) => !builtinModules.includes(name)).toSorted();
}

test('the exports are the client, each integration and package.json', () => {
  const folders = { './client': 'client', ...Object.fromEntries(integrations.map(folderOf)) };
  const expected = Object.entries(folders).map(([path, folder]) => [
    path,
    { types: `./dist/${folder}/index.d.ts`, default: `./dist/${folder}/index.js` },
  ]);
  expect(manifest.exports).toEqual({ ...Object.fromEntries(expected), './package.json': './package.json' });
});

function folderOf(name: string): [path: string, folder: string] {
  return [`./${name}`, `integrations/${name}`];
}

test('what is exported, run or has side effects is there once it is built', () => {
  const exported = Object.values(manifest.exports).flatMap((target) =>
    typeof target === 'string' ? [target] : Object.values(target),
  );
  const files = [...exported, ...Object.values(manifest.bin), ...manifest.sideEffects];
  expect(files.filter((file) => !existsSync(file))).toEqual([]);
});

test('types come first among the conditions of an export', () => {
  const conditions = Object.values(manifest.exports).filter((target) => typeof target !== 'string');
  expect(conditions.map((target) => Object.keys(target)[0])).toEqual(conditions.map(() => 'types'));
});

test('the frameworks of integrations, and nothing else, are peers, all of them optional, and here for the tests', () => {
  expect(Object.keys(manifest.peerDependencies).toSorted()).toEqual(integrations.toSorted());
  expect(manifest.peerDependenciesMeta).toEqual(
    Object.fromEntries(integrations.map((name) => [name, { optional: true }])),
  );
  expect(integrations.filter((name) => !(name in manifest.devDependencies))).toEqual([]);
});

test.each(['client', ...integrations.map((name) => `integrations/${name}`)])(
  '%s needs its own packages alone',
  (folder) => {
    const [, framework] = folder.split('/');
    const allowed = [...CLIENT_PACKAGES, ...(framework === undefined ? [] : [framework, `${framework}-plugin`])];
    const needed = packagesOf(`dist/${folder}`);
    expect(needed.filter((name) => !allowed.includes(name))).toEqual([]);
  },
);

test('what client and service share needs the packages of the client alone', () => {
  expect(packagesOf('dist/gen', 'dist/wire').filter((name) => !CLIENT_PACKAGES.includes(name))).toEqual([]);
});

test('every package that is imported is a dependency or a peer, and every dependency is imported', () => {
  const imported = packagesOf('dist');
  expect(imported.filter((name) => !(name in manifest.peerDependencies))).toEqual(
    Object.keys(manifest.dependencies).toSorted(),
  );
});

test('of every package with an install script it is said whether that may run', () => {
  const withScript = Object.entries(packages)
    .filter(([, { hasInstallScript }]) => hasInstallScript === true)
    .map(([place]) => place.slice(place.lastIndexOf('node_modules/') + 'node_modules/'.length));
  expect([...new Set(withScript)].filter((name) => !(name in manifest.allowScripts))).toEqual([]);
});
