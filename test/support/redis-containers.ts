import { GenericContainer, getContainerRuntimeClient, type StartedTestContainer } from 'testcontainers';
import {
  clusterFlags,
  clusterUrl,
  formCluster,
  freePort,
  serverFlags,
  serviceUrl,
  untilAnswers,
  type ClusterNode,
} from './redis-server.js';
import { serviceUserFlags } from './redis-user.js';

/**
 * The shared Redis of a run in containers. A server that a test stops, kills or restarts is none of them but a process
 * (`startRedis`): a container that is started again answers on another port, and the test would see a move, not an
 * outage.
 */

export interface SharedRedis {
  readonly standaloneUrl: string;
  readonly clusterUrl: string;
  remove(): Promise<void>;
}

const DEFAULT_IMAGE = 'redis:7.0-bookworm';
const REDIS_PORT = 6_379;
const MASTERS = 3;
const NODES = 6;
const DIR = '/tmp';

/** Starts them, or throws: who asks for containers does not want tests that passed on something else. */
export async function startContainers(image: string | undefined): Promise<SharedRedis> {
  await checkEngine();
  const started: StartedTestContainer[] = [];
  const start = async (container: GenericContainer): Promise<StartedTestContainer> => {
    const running = await container.start();
    started.push(running);
    return running;
  };
  const remove = async (): Promise<void> => {
    await Promise.all(started.map((container) => container.stop()));
  };
  const name = image === undefined || image === '' ? DEFAULT_IMAGE : image;
  try {
    const standaloneUrl = await startStandalone(new GenericContainer(name), start);
    const clusterUrl = await startClusterNodes(new GenericContainer(name), start);
    process.stdout.write(`the shared Redis is in containers of ${name}\n`);
    return { standaloneUrl, clusterUrl, remove };
  } catch (error) {
    await remove();
    throw failure(`no Redis came up in containers of ${name}: ${String(error)}`, error);
  }
}

type Start = (container: GenericContainer) => Promise<StartedTestContainer>;

function failure(why: string, cause?: unknown): Error {
  return new Error(`REDIS_FIXTURE=testcontainers: ${why}`, { cause });
}

async function checkEngine(): Promise<void> {
  const client = await getContainerRuntimeClient().catch((error: unknown) => {
    throw failure('no container engine answers; start one, or name it in DOCKER_HOST', error);
  });
  const { host } = client.info.containerRuntime;
  if (host === 'localhost' || host === '127.0.0.1') return;
  throw failure(
    `the engine publishes ports at ${host}, and the tests look on 127.0.0.1; ` +
      'if they are there too, set TESTCONTAINERS_HOST_OVERRIDE=127.0.0.1',
  );
}

async function startStandalone(container: GenericContainer, start: Start): Promise<string> {
  const running = await start(
    container.withCommand(['redis-server', ...containerFlags(REDIS_PORT, DIR)]).withExposedPorts(REDIS_PORT),
  );
  const port = running.getMappedPort(REDIS_PORT);
  await untilAnswers(port);
  return serviceUrl(port);
}

/**
 * All nodes in one container, each on the same port inside and outside: so 127.0.0.1 and that port lead to it for the
 * other nodes and for clients, and that is what a node says of itself.
 */
async function startClusterNodes(container: GenericContainer, start: Start): Promise<string> {
  const nodes = await Promise.all(
    Array.from({ length: NODES }, async () => {
      const [port, busPort] = await Promise.all([freePort(), freePort()]);
      return { port, busPort };
    }),
  );
  await start(
    container
      .withCommand(['sh', '-c', [...nodes.map(nodeCommand), 'wait'].join('\n')])
      .withExposedPorts(...nodes.map(({ port }) => ({ container: port, host: port }))),
  );
  await Promise.all(nodes.map(({ port }) => untilAnswers(port)));
  await formCluster(nodes, MASTERS);
  return clusterUrl(nodes.slice(0, MASTERS));
}

function nodeCommand({ port, busPort }: ClusterNode): string {
  const dir = `${DIR}/${String(port)}`;
  const flags = [...containerFlags(port, dir), ...clusterFlags(busPort)];
  return `mkdir ${dir} && redis-server ${flags.map((flag) => `'${flag}'`).join(' ')} &`;
}

/** On all addresses of the container: what comes in by a published port does not come by its loopback. */
function containerFlags(port: number, dir: string): string[] {
  return [...serverFlags(port, '0.0.0.0', dir), ...serviceUserFlags(), '--protected-mode', 'no'];
}
