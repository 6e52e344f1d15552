import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { until } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';

/** The module of docs/operations/tracing.md, with an exporter that writes to standard output. */

const BLOCKS = join(fileURLToPath(new URL('.', import.meta.url)), `blocks-tracing-${String(process.pid)}`);
const OTEL = join(BLOCKS, 'otel.mjs');
const OWN_EXPORTER = "import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';";

beforeAll(() => {
  const page = readFileSync('docs/operations/tracing.md', 'utf8');
  const [, code = ''] = /<!-- block: otel -->\n```js\n([\s\S]*?)\n```/.exec(page) ?? [];
  if (!code.includes(OWN_EXPORTER)) throw new Error('the page imports another exporter');
  mkdirSync(BLOCKS, { recursive: true });
  const console = "import { ConsoleSpanExporter as OTLPTraceExporter } from '@opentelemetry/sdk-trace-node';";
  writeFileSync(OTEL, code.replace(OWN_EXPORTER, console));
});
afterEach(killServiceProcesses);
afterAll(() => {
  rmSync(BLOCKS, { recursive: true, force: true });
});

test.each([1, 2])('a service that was started as the page says is traced, with %i workers', async (workers) => {
  const service = await startServiceProcess(
    {
      REDIS_URL: sharedRedisUrl('standalone'),
      WORKERS: String(workers),
      OTEL_BSP_SCHEDULE_DELAY: '50',
      OTEL_SERVICE_NAME: 'state-of-the-game',
    },
    { nodeArgs: ['--import', pathToFileURL(OTEL).href] },
  );
  await service.channel().of(CacheServiceService).get({ key: 'k' });
  await until(() => service.output.some((line) => line.includes("name: 'shardkeep.cache.v1.CacheService/Get'")));
  expect(service.output.join('\n')).toContain("'service.name': 'state-of-the-game'");
  expect((await service.stop()).code).toBe(0);
});

test('a service without an SDK says nothing of spans', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone') });
  await service.channel().of(CacheServiceService).get({ key: 'k' });
  await service.stop();
  expect(service.output).toEqual([]);
});
