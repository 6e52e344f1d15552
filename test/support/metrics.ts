import type { TestService } from './service.js';

export type Samples = ReadonlyMap<string, number>;

/** Every sample of GET /metrics at `host:port`, by its name with labels. */
export async function scrape(address: string): Promise<Samples> {
  return samplesOf(await (await fetch(`http://${address}/metrics`)).text());
}

/** The same of a service in this process, without what only a process tells of itself. */
export async function metricsOf({ service }: TestService): Promise<Samples> {
  return samplesOf(await service.metrics.registry.metrics());
}

/** Of Prometheus' text format. */
export function samplesOf(text: string): Samples {
  const samples = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    samples.map((line) => {
      const space = line.lastIndexOf(' ');
      return [line.slice(0, space), Number(line.slice(space + 1))];
    }),
  );
}
