import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { runProgram } from '../started-service.mjs';
import { closureOf } from './closure.mjs';

/** A project of somebody who found the package: in a folder of its own, outside of this one. */

const INSTALL_LIMIT_MS = 120_000;
const NPM_FLAGS = [
  ...['--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund'],
  // npm's own 10 s and 60 s are for those who have nothing else to do
  ...['--fetch-retry-mintimeout=1000', '--fetch-retry-maxtimeout=5000'],
];
/** What npm ends with where it reaches no registry; whatever else fails it is the package's fault. */
const NO_REGISTRY =
  /npm error code (ENOTCACHED|ENOTFOUND|EAI_AGAIN|ECONN\w+|E\w+UNREACH|E\w*TIMEDOUT|ERR_SOCKET_TIMEOUT|E403|E407|E5\d\d)\b/;
const lock = JSON.parse(readFileSync('package-lock.json', 'utf8'));
const versionOf = (name) => lock.packages[`node_modules/${name}`].version;

export class FreshProject {
  dir = mkdtempSync(join(tmpdir(), 'shardkeep-package-'));
  /** How the last installation came about. */
  installedBy = '';

  constructor(tarball) {
    this.tarball = tarball;
    process.on('exit', () => rmSync(this.dir, { recursive: true, force: true }));
  }

  /**
   * Installs the tarball, and what else is named, in the versions of our own lockfile: what runs today must not fail
   * tomorrow because somebody else has published something.
   */
  async install(names) {
    const manifest = {
      name: 'stranger',
      private: true,
      type: 'module',
      dependencies: { shardkeep: `file:${this.tarball}` },
      devDependencies: Object.fromEntries(names.map((name) => [name, versionOf(name)])),
    };
    this.write('package.json', JSON.stringify(manifest));
    const { packages, ...head } = lock;
    this.write('package-lock.json', JSON.stringify({ ...head, packages: { ...packages, '': manifest } }));
    const command = ['npm', 'install', ...NPM_FLAGS];
    const { how, output } = await runProgram(command, { cwd: this.dir, limitMs: INSTALL_LIMIT_MS });
    this.installedBy = 'npm';
    if (how === 0) return;
    // a signal is the time limit's
    if (typeof how === 'number' && !NO_REGISTRY.test(output)) throw new Error(`npm install failed:\n${output}`);
    process.stdout.write(`no registry, so what is installed here is copied:\n${output}`);
    await this.copyInstalled(names);
    this.installedBy = 'copies';
  }

  /** Where no registry is reached: the tarball itself, and copies of what it and these names say they need. */
  async copyInstalled(names) {
    const own = join(this.dir, 'node_modules/shardkeep');
    rmSync(join(this.dir, 'node_modules'), { recursive: true, force: true });
    mkdirSync(own, { recursive: true });
    const tar = ['tar', '-xzf', this.tarball, '--strip-components=1', '-C', own];
    await this.succeed(tar, INSTALL_LIMIT_MS);
    const { dependencies, bin } = JSON.parse(readFileSync(join(own, 'package.json'), 'utf8'));
    const installed = closureOf(lock, [...Object.keys(dependencies), ...names]).filter((place) => existsSync(place));
    for (const place of installed) {
      // packages inside of it are places of their own
      const filter = (file) => file === place || !file.startsWith(join(place, 'node_modules'));
      cpSync(place, join(this.dir, place), { recursive: true, filter });
    }
    for (const [command, file] of Object.entries(bin)) {
      const link = join(this.dir, 'node_modules/.bin', command);
      mkdirSync(dirname(link), { recursive: true });
      chmodSync(join(own, file), 0o755);
      symlinkSync(join('../shardkeep', file), link);
    }
  }

  write(file, text) {
    writeFileSync(join(this.dir, file), text);
  }

  /** A file of ours, under another name if one is given. */
  add(file, name) {
    cpSync(file, join(this.dir, name));
  }

  command(name) {
    return join(this.dir, 'node_modules/.bin', name);
  }

  /** A package that is installed there, as `require` of the project finds it. */
  resolve(name) {
    return createRequire(join(this.dir, 'package.json')).resolve(name);
  }

  /** Runs a program there; answers what it said, throws it unless the exit code is 0. */
  async succeed(command, limitMs) {
    const { how, output } = await runProgram(command, { cwd: this.dir, limitMs });
    if (how !== 0) throw new Error(`${command.join(' ')} ended with ${String(how)}:\n${output}`);
    return output;
  }
}
