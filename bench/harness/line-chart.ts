/** Draws lines over a logarithmic x axis as SVG; all that the plots need. */

export interface Line {
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

export interface ChartOptions {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  /** For what differs by more than a power of ten; all y are above 0 then. */
  readonly logarithmicY?: boolean;
}

const WIDTH = 640;
const HEIGHT = 360;
const LEFT = 76;
const RIGHT = 150;
const TOP = 44;
const BOTTOM = 52;
/** Told apart by the colour-blind as well (Okabe and Ito). */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7'];
const Y_TICKS = 5;

export function lineChart(
  lines: readonly Line[],
  { title, xLabel, yLabel, logarithmicY = false }: ChartOptions,
): string {
  const points = lines.flatMap((line) => line.points);
  const xs = [...new Set(points.map(({ x }) => x))].sort((a, b) => a - b);
  const least = Math.log(Math.min(...xs));
  const span = Math.log(Math.max(...xs)) - least || 1;
  const { ticks, share } = (logarithmicY ? logarithmicScale : linearScale)(points.map(({ y }) => y));
  const toX = (x: number): number => LEFT + ((Math.log(x) - least) / span) * (WIDTH - LEFT - RIGHT);
  const toY = (y: number): number => HEIGHT - BOTTOM - share(y) * (HEIGHT - TOP - BOTTOM);

  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    text(LEFT, 24, title, 'font-size="15"'),
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, xLabel, 'text-anchor="middle"'),
    text(LEFT, 40, yLabel, 'fill="#555"'),
  ];
  for (const tick of ticks) {
    const y = toY(tick);
    parts.push(`<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y}" y2="${y}" stroke="#ddd"/>`);
    parts.push(text(LEFT - 8, y + 4, tick.toLocaleString('en-US'), 'text-anchor="end"'));
  }
  for (const x of xs) parts.push(text(toX(x), HEIGHT - BOTTOM + 18, x.toLocaleString('en-US'), 'text-anchor="middle"'));
  for (const [index, line] of lines.entries()) {
    const colour = COLOURS[index % COLOURS.length] ?? '#000';
    const path = line.points.map(({ x, y }) => `${toX(x).toFixed(1)},${toY(y).toFixed(1)}`).join(' ');
    parts.push(`<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    for (const { x, y } of line.points) {
      parts.push(`<circle cx="${toX(x).toFixed(1)}" cy="${toY(y).toFixed(1)}" r="3.5" fill="${colour}"/>`);
    }
    parts.push(text(WIDTH - RIGHT + 12, TOP + 16 + index * 18, line.name, `fill="${colour}"`));
  }
  return `${[...parts, '</svg>'].join('\n')}\n`;
}

interface Scale {
  readonly ticks: readonly number[];
  /** How high above the lowest tick a value stands, as a share of the height. */
  readonly share: (y: number) => number;
}

function linearScale(ys: readonly number[]): Scale {
  const step = niceStep(Math.max(...ys) / Y_TICKS);
  return {
    ticks: Array.from({ length: Y_TICKS + 1 }, (_, tick) => tick * step),
    share: (y) => y / (step * Y_TICKS),
  };
}

/** Whole powers of ten. */
function logarithmicScale(ys: readonly number[]): Scale {
  const lowest = Math.floor(Math.log10(Math.min(...ys)));
  const highest = Math.ceil(Math.log10(Math.max(...ys)));
  return {
    ticks: Array.from({ length: highest - lowest + 1 }, (_, tick) => Number(`1e${lowest + tick}`)),
    share: (y) => (Math.log10(y) - lowest) / (highest - lowest || 1),
  };
}

/** 1, 2 or 5 times a power of ten, not below the value. */
function niceStep(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  const factor = [1, 2, 5].find((candidate) => candidate * power >= value) ?? 10;
  return factor * power;
}

function text(x: number, y: number, content: string, attributes: string): string {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escaped}</text>`;
}
