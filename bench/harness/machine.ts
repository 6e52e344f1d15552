import { execFileSync } from 'node:child_process';
import { arch, cpus, release, totalmem, type as kernel } from 'node:os';
import { findRedisBinary } from '../../src/redis/embedded.js';

/** What the figures depend on; nothing that names the machine or who uses it. */
export function describeMachine(): string {
  const processors = cpus();
  const model = processors[0]?.model.trim() ?? 'unknown processor';
  const binary = findRedisBinary(process.env.REDIS_SERVER_BIN);
  const redis = binary === undefined ? 'none' : execFileSync(binary, ['--version'], { encoding: 'utf8' });
  const redisVersion = /v=([\d.]+)/.exec(redis)?.[1] ?? redis.trim();
  // a build of the kernel can carry the name of who made it
  const kernelVersion = /^\d+\.\d+(?:\.\d+)?/.exec(release())?.[0] ?? '';
  return [
    `${processors.length} × ${model} (${arch()}), ${Math.round(totalmem() / 2 ** 30)} GiB`,
    `${kernel()} ${kernelVersion}`,
    `Node ${process.versions.node}`,
    `Redis ${redisVersion}`,
  ].join(' · ');
}
