import { samplesOf, type Samples } from '../support/metrics.js';
import type { Series } from './promtool.js';
import { EXPRESSIONS, metricsIn } from './rule-files.js';

export const TAPE_MINUTES = 45;
/** What a fault lasts in simulated time, at the end of the tape: longer than any alert waits, and looks back. */
const FAULT_MINUTES = 35;

export const TAPE_SAMPLE_SECONDS = 60;

const IN_RULES = metricsIn(EXPRESSIONS, new Set());
const NAME = /^\w+/;
/** What grows and never falls. */
const COUNTS = /^\w+(?:_total|_count|_sum|_bucket)(?:\{|$)/;

/** Promtool's time begins at 0. */
const TIMES = /_timestamp_seconds(?:\{|$)/;

/**
 * Scrapes of a real service, shown to Prometheus as if they had been minutes apart: what happened in a second lasts for half
 * an hour then. Counters grow evenly between two scrapes, gauges stay as they were.
 */
export class Tape {
  private readonly calm: Samples[] = [];
  private readonly fault: Samples[] = [];

  constructor(
    private readonly metrics: () => Promise<string>,
    private readonly faultMinutes = FAULT_MINUTES,
  ) {}

  async recordCalm(): Promise<void> {
    this.calm.push(await this.scrape());
  }

  async recordFault(): Promise<void> {
    this.fault.push(await this.scrape());
  }

  series(): Series {
    const scrapes = [...this.calm, ...this.fault];
    const names = new Set(scrapes.flatMap((scrape) => [...scrape.keys()]));
    const named = [...names].filter((name) => IN_RULES.has(NAME.exec(name)?.[0] ?? ''));
    return Object.fromEntries(named.map((name) => [name, this.valuesOf(name).join(' ')]));
  }

  private async scrape(): Promise<Samples> {
    const samples = [...samplesOf(await this.metrics())];
    const nowSeconds = Date.now() / 1_000;
    return new Map(samples.map(([name, value]) => [name, TIMES.test(name) ? value - nowSeconds : value]));
  }

  private valuesOf(name: string): readonly string[] {
    const lastCalm = this.calm.at(-1);
    if (lastCalm === undefined) throw new Error('nothing was recorded before the fault');
    return [
      ...stretched(this.calm, name, TAPE_MINUTES - this.faultMinutes),
      ...stretched([lastCalm, ...this.fault], name, this.faultMinutes),
    ];
  }
}

/** One value for each sample of that time; `_`: none. */
function stretched(scrapes: readonly Samples[], name: string, minutes: number): readonly string[] {
  const samples = (minutes * 60) / TAPE_SAMPLE_SECONDS;
  const steps = scrapes.length - 1;
  return Array.from({ length: samples }, (_, sample) => {
    const place = ((sample + 1) / samples) * steps;
    const from = scrapes[Math.min(Math.floor(place), steps)]?.get(name);
    const to = scrapes[Math.ceil(place)]?.get(name);
    if (to === undefined) return '_';
    if (!COUNTS.test(name)) return String(to);
    // many begin with the first of what they count
    const before = from ?? 0;
    return String(before + (to - before) * (place - Math.floor(place)));
  });
}
